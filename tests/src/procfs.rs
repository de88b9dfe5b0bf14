//! What `/proc` tells of processes.

/// The fields of `/proc/PID/stat` from the state on, the third of `proc_pid_stat(5)`: the program's name before it, in parentheses, may
/// have anything in it. None if it is not as it should be.
pub(crate) fn fields_after_name(stat: &str) -> Option<impl Iterator<Item = &str>> {
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_have_anything_in_them() {
        let fields = |stat| fields_after_name(stat).map(Iterator::collect::<Vec<_>>);
        assert_eq!(
            fields("12 (a) 7 (b) S 11 12\n"),
            Some(vec!["S", "11", "12"])
        );
        assert_eq!(fields("12 (a"), None);
    }
}

//! Which systems a bench measures.

use anyhow::{Result, ensure};

use super::report::Skipped;
use crate::peers::System;

/// Keeps those of `all` that `wanted` names, or all where it names none, but for those that cannot run here: they are noted in
/// `skipped`, with the reason.
///
/// # Errors
///
/// A name is nobody's.
pub(super) fn choose<T>(
    mut all: Vec<T>,
    system: impl Fn(&T) -> &(dyn System + Sync),
    wanted: &[String],
    skipped: &mut Vec<Skipped>,
) -> Result<Vec<T>> {
    let names: Vec<_> = all
        .iter()
        .map(|entry| system(entry).name().to_owned())
        .collect();
    for name in wanted {
        ensure!(
            names.contains(name),
            "there is no system {name:?}: it is one of {}",
            names.join(", ")
        );
    }
    all.retain(|entry| wanted.is_empty() || wanted.iter().any(|name| name == system(entry).name()));
    all.retain(|entry| match system(entry).absent() {
        None => true,
        Some(reason) => {
            skipped.push(Skipped::absent(system(entry).name(), reason));
            false
        }
    });
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lab::Lab, peers::Running};

    struct Fake(&'static str, Option<&'static str>);

    impl System for Fake {
        fn name(&self) -> &str {
            self.0
        }

        fn about(&self) -> &'static str {
            "nothing"
        }

        fn absent(&self) -> Option<String> {
            self.1.map(str::to_owned)
        }

        fn start<'lab>(&self, _lab: &'lab Lab) -> Result<Box<dyn Running + 'lab>> {
            unreachable!("nobody starts it")
        }
    }

    #[test]
    fn the_named_and_present_are_chosen() {
        let chosen = |wanted: &[&str]| {
            let all = vec![
                Fake("a", None),
                Fake("b", Some("is not installed")),
                Fake("c", None),
            ];
            let wanted: Vec<_> = wanted.iter().map(|&name| name.to_owned()).collect();
            let mut skipped = Vec::new();
            let chosen = choose(all, |fake| fake, &wanted, &mut skipped)?;
            Ok::<_, anyhow::Error>((
                chosen.iter().map(|fake| fake.0).collect::<Vec<_>>(),
                skipped.len(),
            ))
        };
        assert_eq!(chosen(&[]).unwrap(), (vec!["a", "c"], 1));
        assert_eq!(chosen(&["c", "b"]).unwrap(), (vec!["c"], 1));
        let error = chosen(&["d"]).unwrap_err().to_string();
        assert!(
            error.contains("\"d\"") && error.contains("a, b, c"),
            "{error}"
        );
    }
}

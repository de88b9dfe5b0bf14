//! What the interfaces of a gateway have received.

use std::{
    fs::File,
    io::{Read, Seek},
};

use anyhow::{Context, Result};

use crate::netns::Netns;

/// The kernel's table of a namespace's interfaces, held open.
pub(super) struct Wire {
    // The file stays with the namespace of the thread that opened it (seq_open_net() in
    // fs/proc/proc_net.c), so reading it takes neither a thread nor a netlink socket.
    table: File,
}

impl Wire {
    pub(super) fn open(netns: &Netns) -> Result<Self> {
        let table = netns.enter(|| Ok(File::open("/proc/thread-self/net/dev")?))?;
        Ok(Self { table })
    }

    /// Bytes received by each of these interfaces since it was made, Ethernet headers included.
    pub(super) fn received(&mut self, interfaces: &[&str]) -> Result<Vec<u64>> {
        let mut text = String::new();
        self.table.rewind()?;
        self.table.read_to_string(&mut text)?;
        interfaces
            .iter()
            .map(|name| received(&text, name))
            .collect()
    }
}

/// The first number behind the interface's name.
fn received(table: &str, interface: &str) -> Result<u64> {
    table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == interface)
        .and_then(|(_, numbers)| numbers.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("the kernel does not count for {interface}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop
    lo:       0       0    0    0    0     0          0         0        0       0    0    0
   dsl: 1234567    1021    0    0    0     0          0         0     9876      54    0    0
  dsl2:4294967296999   7    0    0    0     0          0         0        1       1    0    0
";

    #[test]
    fn an_interface_is_found_by_its_whole_name() {
        assert_eq!(received(TABLE, "dsl").unwrap(), 1_234_567);
        assert_eq!(received(TABLE, "dsl2").unwrap(), 4_294_967_296_999);
        assert!(received(TABLE, "ds").is_err());
    }
}

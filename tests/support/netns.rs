//! A network of a test's own, in which packets can be dropped and links be slow without touching anybody else's.
//!
//! A test that calls [`entered`] runs twice: outside it starts this very program again under `unshare -n`, with itself as
//! the only test, and waits; inside it goes on. Everything it starts there, servers, proxy and clients, talks over a
//! loopback that nobody else sees.

use std::process::{Command, Output, Stdio};

const INSIDE: &str = "RINGWAY_TEST_NAMESPACE";

/// Whether the caller is inside and goes on. Outside, the test has run inside when this returns, or it was skipped for
/// a reason that is printed. `test` is the whole name of the test, `tool` the program that it needs.
pub(crate) fn entered(test: &str, tool: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let Some(unshare) = unshare() else {
        println!("{test} is skipped: a network namespace cannot be had here (unshare -n, unshare -rn)");
        return false;
    };
    if !runs(Command::new(tool).arg("--version")) && !runs(Command::new(tool).arg("-Version")) {
        println!("{test} is skipped: {tool} is missing (Debian: nftables, iproute2)");
        return false;
    }
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new("unshare");
    command.args(unshare).args(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]).arg(program);
    command.args(["--exact", test, "--nocapture", "--include-ignored"]).env(INSIDE, "1");
    let Output { status, stdout, stderr } = command.output().expect("unshare");
    let said = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
    said.lines()
        .filter(|line| line.contains(": ") && !line.starts_with("test "))
        .for_each(|line| println!("{line}"));
    assert!(status.success() && said.contains("1 passed"), "inside of the namespace: {said}");
    false
}

fn unshare() -> Option<[&'static str; 2]> {
    let possible = [["-n", "--"], ["-rn", "--"]];
    possible.into_iter().find(|args| {
        runs(Command::new("unshare").args(args).args(["sh", "-c", "ip link set lo up && ip link show lo"]))
    })
}

fn runs(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// What is dropped on the way between the proxy and a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// What the node sends.
    FromNode,
    /// What either side sends.
    BothWays,
}

/// Drops packets of the node at `address` until the answer is dropped; `None` where the kernel has no nftables.
pub(crate) fn drop_packets(address: &str, what: Dropped) -> Option<Rules> {
    let port = address.rsplit_once(':').expect("a port").1;
    let mut rules = format!(
        "add table inet ringway_test\n\
         add chain inet ringway_test in {{ type filter hook input priority 0; }}\n\
         add rule inet ringway_test in tcp sport {port} drop\n"
    );
    if what == Dropped::BothWays {
        rules += &format!("add rule inet ringway_test in tcp dport {port} drop\n");
    }
    nft(&rules).then_some(Rules)
}

/// Rules that hold until this is dropped.
pub(crate) struct Rules;

impl Drop for Rules {
    fn drop(&mut self) {
        assert!(nft("delete table inet ringway_test\n"));
    }
}

fn nft(rules: &str) -> bool {
    runs(Command::new("nft").arg(rules))
}

/// Narrows the loopback to so many bits a second; whether that worked.
pub(crate) fn narrow_loopback(rate: &str) -> bool {
    let qdisc = "qdisc replace dev lo root tbf rate RATE burst 32kb latency 400ms".replace("RATE", rate);
    // as on a real link, packets are no larger than 1,500 bytes
    runs(Command::new("ip").args("link set dev lo mtu 1500".split(' ')))
        && runs(Command::new("tc").args(qdisc.split(' ')))
}

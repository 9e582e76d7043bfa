//! `ringway dev`: local Redis nodes and a proxy in front of them, in one command and one directory that goes away.
//!
//! ```text
//!   ringway dev ──┬── ringway dev-node ══exec══> redis-server   (one per node; dies with its parent)
//!                 └── proxy + admin
//! ```

pub(crate) mod node;
mod nodes;

use std::fmt::Write as _;
use std::time::Duration;

use ringway_proxy::settings::{NodeSpec, Settings};

use self::nodes::Nodes;
use super::running::{Running, Signals, block_on};
use crate::cli::DevArgs;
use crate::config::{AdminConfig, is_loopback};
use crate::outcome::{Failure, print};
use crate::sockets::Inherited;

/// Runs until Ctrl-C, then leaves nothing behind.
///
/// # Errors
/// No server on PATH or a bad flag (exit 2), a listener that cannot bind or a node that does not start (exit 1).
pub(crate) fn run(args: &DevArgs) -> Result<(), Failure> {
    if !is_loopback(&args.admin) {
        return Err(Failure::Usage(format!(
            "--admin {} is not loopback and dev sets no token; use 127.0.0.1:PORT",
            args.admin
        )));
    }
    let server = nodes::find_server()?;
    block_on(async {
        let mut signals = Signals::new()?;
        let mut nodes = Nodes::new(server)?;
        let started = tokio::select! {
            started = start(args, &mut nodes) => started.map(Some),
            _ = signals.hang_up() => Ok(None),
        };
        let result = match started {
            Ok(Some(running)) => attend(running, &mut nodes, &mut signals).await,
            Ok(None) => Ok(()),
            Err(failure) => Err(failure),
        };
        // whatever failed or ended, the nodes and their directory go
        nodes.stop().await;
        result
    })
}

async fn start(args: &DevArgs, nodes: &mut Nodes) -> Result<Running, Failure> {
    let mut specs = Vec::new();
    for number in 1..=args.nodes {
        let port = nodes.start(number).await?;
        specs.push(NodeSpec::new(format!("cache-{number}"), format!("127.0.0.1:{port}")));
    }
    nodes.started();
    let settings = Settings { listen: args.listen.clone(), ..Settings::new(specs) };
    let admin = AdminConfig {
        listen: args.admin.clone(),
        token: None,
        read_token: None,
        open_metrics: false,
        tls: None,
        metrics_listen: None,
    };
    Running::start(settings, admin, Inherited::default(), |_| false).await
}

/// Says what to try, waits for a signal, tells when a node ends before that.
async fn attend(running: Running, nodes: &mut Nodes, signals: &mut Signals) -> Result<(), Failure> {
    print(&format!("{}{}", running.banner(), first_steps(&running)))?;
    let mut look = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = signals.hang_up() => break,
            _ = look.tick() => nodes.tell_ended(),
            failure = running.failed() => return Err(failure),
        }
    }
    running.drain(signals, || ()).await.map(drop)
}

fn first_steps(running: &Running) -> String {
    let clients = running.control().local_addr();
    let (host, port) = (clients.ip(), clients.port());
    let host_flag = if host.is_loopback() && host.is_ipv4() { String::new() } else { format!("-h {host} ") };
    let admin = running.admin_address();
    let mut text = String::from("\ntry\n");
    let _ = writeln!(text, "  redis-cli {host_flag}-p {port} set greeting hello");
    let _ = writeln!(text, "  redis-cli {host_flag}-p {port} get greeting");
    let _ = writeln!(text, "  curl -s http://{admin}/v1/topology");
    let _ = writeln!(text, "  curl -s 'http://{admin}/v1/route?key=greeting'");
    let _ = writeln!(text, "what would a fourth node take over?");
    let _ = writeln!(
        text,
        "  curl -s -X POST 'http://{admin}/v1/nodes?dry_run=true' -H 'Content-Type: application/json' \\\n       -d \
         '{{\"name\": \"one-more\", \"address\": \"127.0.0.1:7999\"}}'"
    );
    text.push_str("\nCtrl-C stops the proxy and the nodes and removes what they left.\n");
    text
}

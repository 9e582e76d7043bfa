//! INFO: what the proxy says of itself, and the nodes that are asked for the rest.
//!
//! Clients look here whether the server is ready, people what is wrong: so the page comes whatever state the nodes
//! are in. A node that is known to be down is not asked, one that does not answer is given up like any other time.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::all_nodes::every_link;
use super::{Client, Inner, SlotRef};
use crate::command::{Command, Join};
use crate::error::{Failure, Fate};
use crate::resp::Args;
use crate::route::info::{self, Page, Section, Wanted};
use crate::route::join::{About, Over};
use crate::stats::Outcome;
use crate::worker::Worker;

/// Answers INFO, or asks the nodes for it; false when it must wait for the commands before it.
pub(super) fn send(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    args: Args<'_>,
) -> bool {
    let worker = &client.worker;
    let wanted = Wanted::of(args.iter().skip(1));
    let mut page = Page { protocol: inner.session.protocol, wanted, own: Vec::new() };
    if !wanted.asks_nodes() {
        own_facts(worker, &mut page);
        worker.stats.local.count(command, Outcome::Ok);
        let topology = Arc::clone(&worker.routes().topology);
        client.answer(inner, |out| info::join(out, &page, &topology, std::iter::empty()));
        return true;
    }
    let Some((topology, links)) = every_link(client, inner) else { return false };
    own_facts(worker, &mut page);
    let limit = worker.shared.settings.limits.reply_hard_bytes;
    let request = wanted.request();
    let cost = links.len() * request.len();
    let mut joining = worker.spare.borrow_mut().joining();
    let over = Over { topology, about: About::Page(Box::new(page)) };
    joining.begin_over(Join::Info, false, links.len(), limit, over);
    let mut nobody_asked = true;
    for (part, link) in links.iter().enumerate() {
        if link.is_usable() {
            nobody_asked = false;
        } else {
            let why = link.why();
            let failure = Failure { fate: Fate::NotSent, node: link.spec(), why: &why };
            joining.fail(part, failure.fate, &failure.text());
        }
    }
    if nobody_asked {
        worker.stats.local.count(command, Outcome::Ok);
        client.answer(inner, |out| joining.finish(out));
        return true;
    }
    let number = inner.pipeline.join(cost, joining);
    for (part, link) in links.iter().enumerate().filter(|(_, link)| link.is_usable()) {
        link.append(|out| out.extend_from_slice(request));
        link.commit(SlotRef { client: Rc::clone(client), number, part: part as u16 }, command);
    }
    true
}

/// What the proxy knows without its nodes.
fn own_facts(worker: &Worker, page: &mut Page) {
    let shared = &worker.shared;
    let stats = crate::stats::snapshot(shared.workers.iter().map(|worker| &*worker.stats));
    let uptime = shared.started.elapsed().as_secs();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut add = |section: Section, name: &str, value: &dyn std::fmt::Display| {
        page.own.push((section, format!("{name}:{value}")));
    };
    add(Section::Server, "redis_version", &shared.versions.lowest());
    add(Section::Server, "redis_mode", &"standalone");
    add(Section::Server, "ringway_version", &env!("CARGO_PKG_VERSION"));
    add(Section::Server, "arch_bits", &usize::BITS);
    add(Section::Server, "process_id", &std::process::id());
    add(Section::Server, "tcp_port", &shared.local_addr().port());
    add(Section::Server, "server_time_usec", &now.as_micros());
    add(Section::Server, "uptime_in_seconds", &uptime);
    add(Section::Server, "uptime_in_days", &(uptime / 86_400));
    add(Section::Server, "io_threads_active", &shared.workers.len());
    add(Section::Clients, "connected_clients", &stats.client_connections);
    add(Section::Clients, "maxclients", &shared.settings.limits.clients);
    add(Section::Clients, "tracking_clients", &stats.tracking_clients);
    // as in Redis, whom a pause holds back is blocked too
    add(Section::Clients, "blocked_clients", &(stats.blocked_clients + stats.held_clients));
    add(Section::Persistence, "loading", &0);
    add(Section::Stats, "ringway_commands_read", &stats.commands_read);
    add(Section::Stats, "ringway_net_input_bytes", &stats.client_bytes_in);
    add(Section::Stats, "ringway_net_output_bytes", &stats.client_bytes_out);
    // rights are Ringway's: nodes do not know who asks
    add(Section::Stats, "acl_access_denied_auth", &stats.authentication_failures);
    for (name, denied) in ["cmd", "key", "channel"].into_iter().zip(stats.denied) {
        add(Section::Stats, &format!("acl_access_denied_{name}"), &denied);
    }
    add(Section::Replication, "role", &"master");
    add(Section::Replication, "connected_slaves", &0);
    // as ROLE tells it: nothing was ever replicated from here
    add(Section::Replication, "master_repl_offset", &0);
    add(Section::Cluster, "cluster_enabled", &0);
}

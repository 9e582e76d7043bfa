//! Commands without keys that concern every node: sent to all of them, or to one after the other.
//!
//! ```text
//!   DBSIZE ──► node 0 :3 ┐                SCAN 0 ──► first node, its 0 ──► cursor names node and place in it
//!         └──► node 1 :4 ┴─► :7           SCAN c ──► the node of c …   ──► the next node …            ──► 0
//! ```
//! All or a named failure (law I4): if one node cannot be used, none gets the command. One snapshot of the topology
//! serves a command from here to its reply (law I8), and none overtakes what its client sent before (law I2). INFO is
//! the exception that answers for the nodes it can reach. Nothing of this is on the way of a command with keys.

use std::rc::Rc;
use std::sync::Arc;

use super::session::{not_sent, refuse};
use super::{Client, Inner, SlotRef, info, keys, subscribing, subscriptions};
use crate::command::{self, Command, Group, Join};
use crate::error;
use crate::pubsub::Awaited;
use crate::resp::request::parse_number;
use crate::resp::{Args, encode};
use crate::route::join::{About, Over};
use crate::route::keyspace::DRAWS;
use crate::route::scan;
use crate::scripts::Lesson;
use crate::topology::{NodeIndex, Topology};
use crate::upstream::Link;

/// RANDOMKEY asks each node twice at least.
const TOO_MANY_NODES: &str = "ERR RANDOMKEY cannot draw from more than 32767 nodes";

type ClientLink = Rc<Link<SlotRef>>;

/// One request to a node, and the row under which it is counted.
type Request<'a> = (&'a [u8], &'static Command);

/// Sends a command to every node; false when it must wait for the commands before it.
pub(super) fn send(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    join: Join,
    args: Args<'_>,
) -> bool {
    if is_refused(client, inner, command) {
        return true;
    }
    if let Some(setting) = command::access_setting(command, &args) {
        refuse(client, inner, command, &locked_out(setting));
        return true;
    }
    if join == Join::Info {
        return info::send(client, inner, command, args);
    }
    if command::names_unknown_database(command, &args, client.worker.shared.settings.limits.databases) {
        refuse(client, inner, command, error::NO_SUCH_DATABASE);
        return true;
    }
    if command.group == Group::PubSub && subscribing::holds(client, inner, || Awaited::All) {
        return false;
    }
    let Some((topology, links)) = every_link(client, inner) else { return false };
    if would_miss_keys(client, inner, command, &topology) {
        return true;
    }
    if let Some(unusable) = links.iter().find(|link| !link.is_usable()) {
        not_sent(client, inner, command, unusable);
        return true;
    }
    match join {
        Join::Keys => return keys::begin(client, inner, command, args),
        Join::Draw => {
            // part numbers are 16 bits wide, which thousands of nodes fill
            let draws = DRAWS.min((usize::from(u16::MAX) / links.len()).saturating_sub(1));
            if draws == 0 {
                refuse(client, inner, command, TOO_MANY_NODES);
                return true;
            }
            let size = command::find_full(b"dbsize").unwrap_or(command);
            let mut requests: Vec<Request<'_>> = vec![(args.frame(), command); 1 + draws];
            requests[0] = (b"*1\r\n$6\r\nDBSIZE\r\n", size);
            let over = Over { topology, about: About::Nothing };
            gather(client, inner, command, join, over, &links, &requests);
        }
        _ => {
            remember(client, command, args);
            let about = match lesson(command, args) {
                Some(lesson) => About::Lesson(Arc::clone(&client.worker.shared.scripts), lesson),
                None => about(command, args),
            };
            let over = Over { topology, about };
            gather(client, inner, command, join, over, &links, &[(args.frame(), command)]);
        }
    }
    true
}

/// Nodes that join or restart later are told of the scripts that were loaded, and not of what was deleted.
fn remember(client: &Client, command: &Command, args: Args<'_>) {
    let scripts = &client.worker.shared.scripts;
    match command.full_name {
        "script|load" => scripts.keep(args.get(2).unwrap_or_default()),
        "script|flush" if is_flush(args) => scripts.forget(),
        _ => {}
    }
    if let Some(gone @ (Lesson::Deleted(_) | Lesson::Flushed)) = lesson(command, args) {
        scripts.learn(&gone);
    }
}

/// What is known about libraries once all nodes have done it.
fn lesson(command: &Command, args: Args<'_>) -> Option<Lesson> {
    let argument = |at: usize| args.get(at).unwrap_or_default();
    Some(match command.full_name {
        "function|load" => Lesson::Library(argument(args.len() - 1).into()),
        "function|restore" => Lesson::Dump(argument(2).into(), argument(3).eq_ignore_ascii_case(b"flush")),
        "function|delete" => Lesson::Deleted(argument(2).into()),
        "function|flush" if is_flush(args) => Lesson::Flushed,
        _ => return None,
    })
}

/// What the join of the replies must know of the request.
fn about(command: &Command, args: Args<'_>) -> About {
    match command.full_name {
        "config|get" => About::Names(args.iter().skip(2).map(Box::from).collect()),
        "slowlog|get" => {
            // any other count is refused by the nodes
            let count = args.get(2).map_or(Some(10), parse_number).unwrap_or(-1);
            About::Most(usize::try_from(count).unwrap_or(usize::MAX))
        }
        _ => About::Nothing,
    }
}

/// Whether servers take it for a SCRIPT FLUSH or FUNCTION FLUSH; to any other they answer an error.
fn is_flush(args: Args<'_>) -> bool {
    let is = |word: &[u8]| args.get(2).is_some_and(|mode| mode.eq_ignore_ascii_case(word));
    args.len() == 2 || args.len() == 3 && (is(b"sync") || is(b"async"))
}

/// Ringway would go on with the connections it has and fail at each new one.
fn locked_out(setting: &str) -> String {
    format!(
        "ERR CONFIG SET {setting} is refused: it would lock Ringway out of its nodes; set it on each node, and in \
         Ringway's configuration"
    )
}

/// Whether the settings do not allow a command that is guarded; then it is answered.
pub(super) fn is_refused(client: &Rc<Client>, inner: &mut Inner, command: &'static Command) -> bool {
    let refusal = refusal(client, command);
    refusal.iter().for_each(|text| refuse(client, inner, command, text));
    refusal.is_some()
}

/// Why a command that is guarded is refused, unless the settings allow it: the reply line without its leading `-`.
pub(super) fn refusal(client: &Client, command: &Command) -> Option<String> {
    let why = command.guarded.filter(|_| !client.worker.shared.settings.allows(command))?;
    Some(format!(
        "ERR {} is refused: {why}; the operator allows it in ringway.yaml with  commands: {{ allow: [{}] }}",
        command.full_name.to_ascii_uppercase().replace('|', " "),
        command.full_name
    ))
}

/// Whether a command concerns all keys while some are on their way; then it is answered.
pub(super) fn would_miss_keys(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    topology: &Topology,
) -> bool {
    if !command.concerns_all_keys() || topology.former().is_none() {
        return false;
    }
    let text = format!(
        "ERR {} is refused while keys move to other nodes, because it would miss those on their way; GET /v1/movement \
         tells when that is over",
        command.full_name.to_ascii_uppercase()
    );
    refuse(client, inner, command, &text);
    true
}

/// Whether a command for the nodes of `topology` may be sent now: as with keys, not before its client's commands for
/// nodes of an earlier one, or on other connections, are answered.
fn order(inner: &mut Inner, topology: &Topology) -> bool {
    inner.session.follows(topology.epoch(), inner.pipeline.is_empty())
}

/// The topology and the connections to its nodes, in their order; `None` when the command must wait for those before it.
pub(super) fn every_link(client: &Rc<Client>, inner: &mut Inner) -> Option<(Arc<Topology>, Vec<ClientLink>)> {
    let routes = client.worker.routes();
    // first: it decides which connections are taken
    if !order(inner, &routes.topology) {
        return None;
    }
    let nodes = (0..routes.topology.nodes().len()).map(|at| NodeIndex(at as u16));
    let links = nodes.map(|node| routes.link(node, inner.session.lane())).collect();
    Some((Arc::clone(&routes.topology), links))
}

/// Sends each request to each node; all of them can be used.
fn gather(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    join: Join,
    over: Over,
    links: &[ClientLink],
    requests: &[Request<'_>],
) {
    // scripts, settings and logs are no keys, so that the command's flags do not tell
    let changes = command.is_write()
        || matches!(join, Join::Same | Join::Ok | Join::Said)
        || command.full_name == "latency|reset";
    let limit = client.worker.shared.settings.limits.reply_hard_bytes;
    // what is sent to all counts for all: many nodes are as good as many commands
    let cost = links.len() * requests.iter().map(|(frame, _)| frame.len()).sum::<usize>();
    let mut joining = client.worker.spare.borrow_mut().joining();
    joining.begin_over(join, changes, links.len() * requests.len(), limit, over);
    if matches!(join, Join::Union | Join::Listeners(_) | Join::Patterns) {
        joining.count(subscriptions::counting(client, links.iter().map(|link| link.spec_arc()), None));
    }
    let number = inner.pipeline.join(cost, joining);
    for (round, (frame, row)) in requests.iter().enumerate() {
        for (at, link) in links.iter().enumerate() {
            let part = (round * links.len() + at) as u16;
            link.append(|out| out.extend_from_slice(frame));
            link.commit(SlotRef { client: Rc::clone(client), number, part }, row);
        }
    }
}

/// Sends SCAN to the node that its cursor names, with that node's own cursor; false when it must wait for the commands
/// before it.
pub(super) fn scan(
    client: &Rc<Client>,
    inner: &mut Inner,
    command: &'static Command,
    args: Args<'_>,
) -> bool {
    let (topology, link, page) = {
        let routes = client.worker.routes();
        if !order(inner, &routes.topology) {
            return false;
        }
        if would_miss_keys(client, inner, command, &routes.topology) {
            return true;
        }
        let page = match scan::page(&routes.topology, args.get(1).unwrap_or_default()) {
            Ok(page) => page,
            Err(text) => {
                refuse(client, inner, command, text);
                return true;
            }
        };
        (Arc::clone(&routes.topology), routes.link(page.node, inner.session.lane()), page)
    };
    if !link.is_usable() {
        not_sent(client, inner, command, &link);
        return true;
    }
    link.append(|out| {
        encode::array(out, args.len());
        encode::bulk(out, command.name.as_bytes());
        encode::bulk(out, page.inner.to_string().as_bytes());
        args.iter().skip(2).for_each(|argument| encode::bulk(out, argument));
    });
    let limit = client.worker.shared.settings.limits.reply_hard_bytes;
    let mut joining = client.worker.spare.borrow_mut().joining();
    let over = Over { topology, about: About::Place(page.place) };
    joining.begin_over(Join::Page, false, 1, limit, over);
    let number = inner.pipeline.join(args.frame().len(), joining);
    link.commit(SlotRef { client: Rc::clone(client), number, part: 0 }, command);
    true
}

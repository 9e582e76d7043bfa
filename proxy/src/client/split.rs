//! Commands whose keys lie on several nodes: a part for each node, put together from the request's own arguments.

use std::rc::Rc;

use super::session::not_sent;
use super::{Client, Inner, SlotRef};
use crate::command::{Command, Join};
use crate::resp::{Args, encode};
use crate::topology::NodeIndex;
use crate::upstream::{Lane, Link};
use crate::worker::Routes;

/// A command whose keys lie on several nodes.
pub(super) struct Split<'a> {
    pub(super) command: &'static Command,
    pub(super) join: Join,
    pub(super) args: Args<'a>,
    pub(super) routes: &'a Routes,
    pub(super) keys: &'a [u32],
    pub(super) owners: &'a [NodeIndex],
}

/// Sends one part to each node concerned. If one of them cannot be used, nothing is sent at all.
pub(super) fn send(client: &Rc<Client>, inner: &mut Inner, split: &Split<'_>) {
    let parts = &mut *client.worker.parts.borrow_mut();
    parts.assign(split, inner.session.lane());
    if let Some(unusable) = parts.each.iter().find(|part| !part.link.is_usable()) {
        not_sent(client, inner, split.command, &unusable.link);
        return parts.end();
    }
    let values = if split.join == Join::Ok { 2 } else { 1 };
    for part in &parts.each {
        part.link.append(|out| {
            encode::array(out, 1 + part.keys * values);
            encode::bulk(out, split.command.name.as_bytes());
        });
    }
    #[cfg(test)]
    crate::panic_tests::panic_if_asked(split.args.frame());
    for (&part, &position) in parts.assignment.iter().zip(split.keys) {
        let first = position as usize;
        parts.each[usize::from(part)].link.append(|out| {
            for argument in first..first + values {
                encode::bulk(out, split.args.get(argument).unwrap_or_default());
            }
        });
    }
    let mut joining = client.worker.spare.borrow_mut().joining();
    let limit = client.worker.shared.settings.limits.reply_hard_bytes;
    joining.begin(split.join, split.command.is_write(), &parts.assignment, parts.each.len(), limit);
    let number = inner.pipeline.join(split.args.frame().len(), joining);
    for (at, part) in parts.each.iter().enumerate() {
        part.link.commit(SlotRef { client: Rc::clone(client), number, part: at as u16 }, split.command);
    }
    parts.end();
}

/// Memory for the assignment of keys to parts, shared by a worker's commands.
#[derive(Default)]
pub(crate) struct Parts {
    /// For each key its part.
    assignment: Vec<u16>,
    each: Vec<Part>,
    /// For each node its part plus one, 0 for none; all zero between two commands.
    part_of_node: Vec<u16>,
}

struct Part {
    node: NodeIndex,
    link: Rc<Link<SlotRef>>,
    keys: usize,
}

impl Parts {
    /// Numbers the parts in the order in which their nodes are first named.
    fn assign(&mut self, split: &Split<'_>, lane: Lane) {
        for &node in split.owners {
            let at = usize::from(node.0);
            if self.part_of_node.len() <= at {
                self.part_of_node.resize(at + 1, 0);
            }
            if self.part_of_node[at] == 0 {
                self.each.push(Part { node, link: split.routes.link(node, lane), keys: 0 });
                self.part_of_node[at] = self.each.len() as u16;
            }
            let part = self.part_of_node[at] - 1;
            self.each[usize::from(part)].keys += 1;
            self.assignment.push(part);
        }
    }

    /// Empties everything but the memory.
    fn end(&mut self) {
        const KEEP: usize = 64 * 1024;
        for part in self.each.drain(..) {
            self.part_of_node[usize::from(part.node.0)] = 0;
        }
        self.assignment.clear();
        self.assignment.shrink_to(KEEP);
    }
}

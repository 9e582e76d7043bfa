//! Joining what nodes count of those who listen: PUBLISH, and PUBSUB CHANNELS, NUMSUB, NUMPAT and their shard kin.
//!
//! Nodes count the proxy's listening connections; clients ask for clients. What the proxy has on each node is taken off
//! and its own clients are added. Exact when nothing is on its way; a node that has just come back may be counted as if
//! it had heard of everybody.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::command::{Join, SubscriptionKind};
use crate::pubsub::Registry;
use crate::resp::{encode, reply};
use crate::settings::NodeSpec;

/// What the counts of nodes are corrected by.
#[derive(Debug)]
pub(crate) struct Counting {
    pub(crate) registry: Arc<Registry>,
    /// The node of each part.
    pub(crate) nodes: Box<[Arc<NodeSpec>]>,
    /// PUBLISH: what was published to.
    pub(crate) published: Option<(SubscriptionKind, Box<[u8]>)>,
}

impl Counting {
    /// Appends the joined reply; `None` when the replies are none that can be joined.
    pub(super) fn join<'a>(
        &'a self,
        kind: Join,
        out: &mut Vec<u8>,
        replies: impl Iterator<Item = &'a [u8]>,
    ) -> Option<()> {
        let mut replies = self.nodes.iter().map(|node| node.address.as_str()).zip(replies);
        match kind {
            Join::Receivers => {
                let (address, count) = replies.next()?;
                let (kind, channel) = self.published.as_ref()?;
                let own = self.registry.receivers(*kind, channel, address);
                encode::integer(out, own.correct(reply::integer(count)?));
            }
            Join::Union => {
                let names: BTreeSet<&[u8]> = replies
                    .map(|(_, names)| reply::elements(names))
                    .collect::<Option<Vec<_>>>()?
                    .into_iter()
                    .flatten()
                    .collect();
                encode::array(out, names.len());
                names.iter().for_each(|name| out.extend_from_slice(name));
            }
            Join::Listeners(kind) => self.listeners(kind, out, replies)?,
            _ => {
                let (on_nodes, own) = self.registry.patterns();
                let mut others: i64 = 0;
                for (address, count) in replies {
                    let ours = if self.registry.is_reached(address) { on_nodes as i64 } else { 0 };
                    others = others.saturating_add(reply::integer(count)?.saturating_sub(ours).max(0));
                }
                encode::integer(out, others.saturating_add(own as i64));
            }
        }
        Some(())
    }

    /// Each reply lists channels and counts by turns, all in the order in which they were asked for.
    fn listeners<'a>(
        &'a self,
        kind: SubscriptionKind,
        out: &mut Vec<u8>,
        replies: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Option<()> {
        let mut order: Vec<&[u8]> = Vec::new();
        let mut counts: HashMap<&[u8], i64> = HashMap::new();
        for (part, (address, listed)) in replies.enumerate() {
            let mut elements = reply::elements(listed)?;
            let mut seen = BTreeSet::new();
            while let (Some(name), Some(count)) = (elements.next(), elements.next()) {
                if part == 0 {
                    order.push(name);
                }
                // a channel that is asked for twice is counted once
                if seen.insert(name) {
                    let own = self.registry.listeners(kind, reply::bulk(name)?, address).connections as i64;
                    let others = reply::integer(count)?.saturating_sub(own).max(0);
                    *counts.entry(name).or_default() += others;
                }
            }
        }
        encode::array(out, 2 * order.len());
        for name in order {
            let own = self.registry.clients(kind, reply::bulk(name)?) as i64;
            out.extend_from_slice(name);
            encode::integer(out, counts.get(name)?.saturating_add(own));
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(registry: &Arc<Registry>) -> Counting {
        let nodes = ["h:1", "h:2"].map(|address| Arc::new(NodeSpec::new(address, address)));
        Counting { registry: Arc::clone(registry), nodes: nodes.into(), published: None }
    }

    fn joined(counting: &Counting, kind: Join, replies: &[&str]) -> Option<String> {
        let mut out = Vec::new();
        counting.join(kind, &mut out, replies.iter().map(|reply| reply.as_bytes()))?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn connections_of_the_proxy_are_no_listeners() {
        let registry = Arc::new(Registry::default());
        let name: Arc<[u8]> = b"a"[..].into();
        registry.reach("h:1", 0, true);
        registry.reach("h:2", 0, true);
        registry.set(SubscriptionKind::Channel, &name, 0, Some(3));
        registry.set(SubscriptionKind::Pattern, &name, 0, Some(1));
        let counting = counting(&registry);
        // the proxy has one connection on each node; a client of its own is on the second
        let replies =
            ["*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:0\r\n", "*4\r\n$1\r\na\r\n:2\r\n$1\r\nb\r\n:0\r\n"];
        let listeners = joined(&counting, Join::Listeners(SubscriptionKind::Channel), &replies);
        assert_eq!(listeners.as_deref(), Some("*4\r\n$1\r\na\r\n:4\r\n$1\r\nb\r\n:0\r\n"));
        assert_eq!(joined(&counting, Join::Patterns, &[":1\r\n", ":3\r\n"]).as_deref(), Some(":3\r\n"));
        let replies = ["*1\r\n$1\r\na\r\n", "*2\r\n$1\r\nc\r\n$1\r\na\r\n"];
        let union = joined(&counting, Join::Union, &replies);
        assert_eq!(union.as_deref(), Some("*2\r\n$1\r\na\r\n$1\r\nc\r\n"));
        assert_eq!(joined(&counting, Join::Patterns, &["+OK\r\n", ":1\r\n"]), None);
    }
}

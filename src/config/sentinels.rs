//! The section `sentinels`: who is asked where the masters are that nodes stand for.

use ringway_proxy::settings::{NodeSpec, Sentinels};
use ringway_proxy::topology::NodeAddress;

use super::nodes::credentials;
use super::problem::shown;
use super::reader::{Reader, Section};
use super::secret::Secrets;
use super::yaml::Value;

/// More would only be asked.
const MOST: usize = 31;

/// Reads `sentinels`; `nodes` may need it.
pub(crate) fn sentinels(
    reader: &mut Reader,
    root: &Section<'_>,
    secrets: &Secrets<'_>,
    nodes: &[NodeSpec],
) -> Option<Sentinels> {
    let at = reader.inner(root, "sentinels", &["addresses", "username", "password"]);
    if root.get("sentinels").is_none() {
        let is_one = |node: &&NodeSpec| {
            matches!(NodeAddress::parse(&node.address), Some(NodeAddress::Sentinel { .. }))
        };
        if let Some(node) = nodes.iter().find(is_one) {
            let text = format!(
                "node '{}': where {} is tell sentinels; name them:  sentinels: {{addresses: [\"10.0.0.5:26379\"]}}",
                node.name, node.address
            );
            reader.problem(root.line_of("nodes"), text);
        }
        return None;
    }
    let credentials = credentials(reader, &at, secrets);
    let example = "write a list such as [\"10.0.0.5:26379\", \"10.0.0.6:26379\", \"10.0.0.7:26379\"]";
    let items = match at.get("addresses").map(|node| (&node.value, node)) {
        Some((Value::List(items), _)) if (1..=MOST).contains(&items.len()) => items.as_slice(),
        Some((Value::List(items), node)) => {
            let text =
                format!("{} has {} entries; 1 to {MOST} can be asked", at.path("addresses"), items.len());
            reader.problem(node.line, text);
            &[]
        }
        Some((_, node)) => {
            reader.problem(node.line, format!("{} is {}; {example}", at.path("addresses"), node.kind()));
            &[]
        }
        None => {
            let text = format!("{} is missing; {example}", at.path("addresses"));
            reader.problem(at.line_of("addresses"), text);
            &[]
        }
    };
    let mut addresses: Vec<String> = Vec::new();
    for item in items {
        let problem = match &item.value {
            Value::Scalar(text) => match NodeAddress::parse(text) {
                Some(NodeAddress::Network(..) | NodeAddress::Tls(..)) if !addresses.contains(text) => {
                    addresses.push(text.clone());
                    continue;
                }
                Some(NodeAddress::Network(..) | NodeAddress::Tls(..)) => {
                    format!("'{}' stands there twice; leave one out", shown(text))
                }
                _ => format!(
                    "'{}' is neither host:port nor rediss://host:port; write for example 10.0.0.5:26379",
                    shown(text)
                ),
            },
            _ => format!("it holds {}; {example}", item.kind()),
        };
        reader.problem(item.line, format!("{}: {problem}", at.path("addresses")));
    }
    Some(Sentinels { addresses, credentials })
}

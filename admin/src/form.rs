//! A topology as JSON, with all that another process needs to serve by it: as it is kept in a file, and as those who follow
//! are told it.
//!
//! A password that both sides know from their configuration is not in it: such a node says so.

use std::collections::HashMap;

use ringway_proxy::settings::{Credentials, NodeSpec, Origin, Secret, TopologySpec};
use ringway_proxy::topology::Topology;
use ringway_ring::{HashTag, KeyHash, Placement, RingConfig};
use serde::{Deserialize, Serialize};

/// Placement, nodes, and where keys come from that are on their way.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopologyForm {
    /// The placement.
    pub ring: RingForm,
    /// The nodes in the operator's order.
    pub nodes: Vec<NodeForm>,
    /// Only while keys are on their way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<OriginForm>,
}

/// Where keys come from that are on their way.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginForm {
    former_is_right: bool,
    ring: RingForm,
    nodes: Vec<NodeForm>,
}

/// The placement, in the words of the configuration file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RingForm {
    placement: String,
    key_hash: Option<String>,
    points: u32,
    seed: u64,
    hash_tag: String,
}

/// One node.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeForm {
    name: String,
    address: String,
    weight: u32,
    credentials: CredentialsForm,
}

/// Where a node's password comes from.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum CredentialsForm {
    /// The node had none, neither here nor in the configuration file.
    None,
    /// The node of this name in the configuration file has it.
    Configuration,
    /// Applied over HTTP, other than what the configuration file says.
    Here { username: Option<String>, password: Option<String> },
}

/// What the configuration file supplies, by node.
pub type Known = HashMap<String, Credentials>;

/// The credentials of a configuration's nodes.
pub fn known(nodes: &[NodeSpec]) -> Known {
    nodes.iter().map(|node| (node.name.clone(), node.credentials.clone())).collect()
}

impl TopologyForm {
    /// Of a topology; passwords of `known` are left out.
    pub fn of(topology: &Topology, known: &Known) -> Self {
        let (ring, nodes) = spec_form(topology.spec(), known);
        let origin = topology.origin().map(|Origin { former, former_is_right }| {
            let (ring, nodes) = spec_form(&former, known);
            OriginForm { former_is_right, ring, nodes }
        });
        Self { ring, nodes, origin }
    }

    /// What it says; `known` has the passwords that were left out.
    ///
    /// # Errors
    /// Why there can be no such topology, in words without a password.
    pub fn restore(self, known: &Known) -> Result<(TopologySpec, Option<Origin>), String> {
        let spec = restore(self.ring, self.nodes, known)?;
        let origin = self.origin.map(|OriginForm { former_is_right, ring, nodes }| {
            restore(ring, nodes, known).map(|former| Origin { former, former_is_right })
        });
        Ok((spec, origin.transpose()?))
    }
}

fn restore(ring: RingForm, nodes: Vec<NodeForm>, known: &Known) -> Result<TopologySpec, String> {
    let key_hash =
        ring.key_hash.map(|name| name.parse::<KeyHash>()).transpose().map_err(|error| error.to_string())?;
    let ring = RingConfig {
        placement: Placement::from_name(&ring.placement, key_hash).map_err(|error| error.to_string())?,
        points: ring.points,
        seed: ring.seed,
        hash_tag: HashTag::parse(&ring.hash_tag).map_err(|error| error.to_string())?,
    };
    let nodes = nodes.into_iter().map(|node| restore_node(node, known)).collect::<Result<_, _>>()?;
    Ok(TopologySpec { ring, nodes })
}

fn restore_node(node: NodeForm, known: &Known) -> Result<NodeSpec, String> {
    // what was applied over HTTP stays; else the configuration file, so that a changed password there takes effect
    let credentials = match (node.credentials, known.get(&node.name)) {
        (CredentialsForm::Here { username, password }, _) => {
            Credentials { username, password: password.map(Secret::new) }
        }
        (CredentialsForm::None | CredentialsForm::Configuration, Some(credentials)) => credentials.clone(),
        (CredentialsForm::None, None) => Credentials::default(),
        (CredentialsForm::Configuration, None) => {
            return Err(format!(
                "node '{}' takes its password from the configuration file, which no longer has that node",
                node.name.chars().take(64).collect::<String>().escape_debug()
            ));
        }
    };
    Ok(NodeSpec { name: node.name, address: node.address, weight: node.weight, credentials })
}

fn spec_form(TopologySpec { ring, nodes }: &TopologySpec, known: &Known) -> (RingForm, Vec<NodeForm>) {
    let node = |node: &NodeSpec| NodeForm {
        name: node.name.clone(),
        address: node.address.clone(),
        weight: node.weight,
        credentials: credentials_form(node, known),
    };
    let ring = RingForm {
        placement: ring.placement.name().to_owned(),
        key_hash: ring.placement.key_hash().map(|hash| hash.to_string()),
        points: ring.points,
        seed: ring.seed,
        hash_tag: ring.hash_tag.map(|tag| tag.to_string()).unwrap_or_default(),
    };
    (ring, nodes.iter().map(node).collect())
}

fn credentials_form(node: &NodeSpec, known: &Known) -> CredentialsForm {
    let none = Credentials::default();
    let configured = known.get(&node.name).unwrap_or(&none);
    if node.credentials == none && *configured == none {
        CredentialsForm::None
    } else if node.credentials == *configured {
        CredentialsForm::Configuration
    } else {
        CredentialsForm::Here {
            username: node.credentials.username.clone(),
            password: node.credentials.password.as_ref().map(|secret| secret.reveal().to_owned()),
        }
    }
}

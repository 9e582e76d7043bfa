//! What a caller wishes for, and the list of nodes that comes of it.
//!
//! Every change is an [`Edit`] of the topology that was read a moment ago; it yields the whole wished list, which is
//! applied with the epoch that was read. A node keeps its credentials as long as it keeps its name, because nobody
//! can read them back to repeat them.

use std::collections::{BTreeMap, HashMap, HashSet};

use ringway_proxy::settings::{Credentials, NodeSpec, TopologySpec};
use serde::Deserialize;

use crate::body::{Checked, Password, Unknown, check_unknown, present};
use crate::error::ApiError;
use crate::limits;

const NODE_FIELDS: [&str; 5] = ["name", "address", "weight", "username", "password"];
const PATCH_FIELDS: [&str; 4] = ["address", "weight", "username", "password"];

/// One node as a caller writes it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct NodeBody {
    // these two must be there; that they are is seen after unknown fields, one of which may be meant to be them
    name: Option<String>,
    address: Option<String>,
    #[serde(default = "one")]
    weight: u32,
    #[serde(default, deserialize_with = "present")]
    username: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    password: Option<Option<Password>>,
    #[serde(flatten)]
    unknown: Unknown,
}

/// What becomes different of one node; what is absent stays.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PatchBody {
    address: Option<String>,
    weight: Option<u32>,
    #[serde(default, deserialize_with = "present")]
    username: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    password: Option<Option<Password>>,
    #[serde(flatten)]
    unknown: Unknown,
}

/// The whole wished list.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ListBody {
    // must be there, see `NodeBody`
    nodes: Option<Vec<NodeBody>>,
    #[serde(flatten)]
    unknown: Unknown,
}

/// The whole wished list, or edits of the current one.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PlanBody {
    nodes: Option<Vec<NodeBody>>,
    #[serde(default)]
    add: Vec<NodeBody>,
    #[serde(default)]
    remove: Vec<String>,
    #[serde(default)]
    reweight: BTreeMap<String, u32>,
    #[serde(flatten)]
    unknown: Unknown,
}

/// One wish.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    /// This list and nothing else.
    Replace(Vec<NodeBody>),
    /// One more node.
    Add(NodeBody),
    /// One node becomes different.
    Patch(String, PatchBody),
    /// One node fewer.
    Remove(String),
    /// Removals, then new weights, then additions.
    Several { add: Vec<NodeBody>, remove: Vec<String>, reweight: BTreeMap<String, u32> },
}

fn one() -> u32 {
    1
}

impl Checked for NodeBody {
    fn check(&self) -> Result<(), ApiError> {
        self.check_in("")
    }
}

impl Checked for PatchBody {
    fn check(&self) -> Result<(), ApiError> {
        if self.unknown.contains_key("name") {
            return Err(ApiError::bad_request(
                "`name` cannot be patched: another name is another place on the ring. Add the new node, then delete \
                 the old one",
            ));
        }
        check_unknown("", &self.unknown, &PATCH_FIELDS)?;
        let nothing = self.address.is_none() && self.weight.is_none();
        if nothing && self.username.is_none() && self.password.is_none() {
            return Err(ApiError::bad_request(format!(
                "nothing to change; give one of {}",
                PATCH_FIELDS.join(", ")
            )));
        }
        Ok(())
    }
}

impl Checked for ListBody {
    fn check(&self) -> Result<(), ApiError> {
        check_unknown("", &self.unknown, &["nodes"])?;
        check_list("nodes", required("", "nodes", &self.nodes)?)
    }
}

impl Checked for PlanBody {
    fn check(&self) -> Result<(), ApiError> {
        check_unknown("", &self.unknown, &["nodes", "add", "remove", "reweight"])?;
        check_list("nodes", self.nodes.as_deref().unwrap_or_default())?;
        check_list("add", &self.add)?;
        let edits = !(self.add.is_empty() && self.remove.is_empty() && self.reweight.is_empty());
        match (&self.nodes, edits) {
            (Some(_), true) => Err(ApiError::bad_request(
                "give either `nodes` or edits (`add`, `remove`, `reweight`), not both",
            )),
            (None, false) => Err(ApiError::bad_request(
                "nothing to plan; give `nodes`, or one of `add`, `remove`, `reweight`",
            )),
            _ => Ok(()),
        }
    }
}

/// What must be there; `place` says where.
fn required<'b, T>(place: &str, field: &str, found: &'b Option<T>) -> Result<&'b T, ApiError> {
    found.as_ref().ok_or_else(|| ApiError::bad_request(format!("{place}`{field}` is missing")))
}

fn check_list(field: &str, nodes: &[NodeBody]) -> Result<(), ApiError> {
    for (at, node) in nodes.iter().enumerate() {
        node.check_in(&format!("{field}[{at}]: "))?;
    }
    Ok(())
}

impl From<ListBody> for Edit {
    fn from(body: ListBody) -> Self {
        Edit::Replace(body.nodes.unwrap_or_default())
    }
}

impl From<PlanBody> for Edit {
    fn from(body: PlanBody) -> Self {
        match body.nodes {
            Some(nodes) => Edit::Replace(nodes),
            None => Edit::Several { add: body.add, remove: body.remove, reweight: body.reweight },
        }
    }
}

impl Edit {
    /// The wished topology when `current` holds.
    ///
    /// # Errors
    /// 404 for a node that is not there, 409 for one that already is, 422 for a list that can be no topology.
    pub(crate) fn of(&self, current: &TopologySpec) -> Result<TopologySpec, ApiError> {
        let nodes = match self {
            Edit::Replace(wished) => replaced(&current.nodes, wished),
            Edit::Add(node) => edited(&current.nodes, std::slice::from_ref(node), &[], &BTreeMap::new())?,
            Edit::Patch(name, patch) => patched(&current.nodes, name, patch)?,
            Edit::Remove(name) => edited(&current.nodes, &[], std::slice::from_ref(name), &BTreeMap::new())?,
            Edit::Several { add, remove, reweight } => edited(&current.nodes, add, remove, reweight)?,
        };
        check_size(&nodes, current.nodes.len())?;
        Ok(TopologySpec { ring: current.ring.clone(), nodes })
    }
}

/// A topology that came from elsewhere may be larger than [`limits::NODES`]; edits must not make it larger still.
fn check_size(nodes: &[NodeSpec], current: usize) -> Result<(), ApiError> {
    if nodes.is_empty() {
        return Err(ApiError::unprocessable("no node would be left; a topology needs at least one"));
    }
    let most = limits::NODES.max(current);
    if nodes.len() > most {
        let count = nodes.len();
        return Err(ApiError::unprocessable(format!(
            "{count} nodes are too many; at most {most} can be set over HTTP"
        )));
    }
    Ok(())
}

fn replaced(current: &[NodeSpec], wished: &[NodeBody]) -> Vec<NodeSpec> {
    let known: HashMap<&str, &NodeSpec> = current.iter().map(|node| (node.name.as_str(), node)).collect();
    wished.iter().map(|body| body.spec(known.get(body.name()).map(|node| &node.credentials))).collect()
}

fn patched(current: &[NodeSpec], name: &str, patch: &PatchBody) -> Result<Vec<NodeSpec>, ApiError> {
    let mut nodes = current.to_vec();
    let node = nodes.iter_mut().find(|node| node.name == name).ok_or_else(|| ApiError::unknown_node(name))?;
    if let Some(address) = &patch.address {
        node.address.clone_from(address);
    }
    node.weight = patch.weight.unwrap_or(node.weight);
    change_credentials(&mut node.credentials, &patch.username, &patch.password);
    Ok(nodes)
}

fn edited(
    current: &[NodeSpec],
    add: &[NodeBody],
    remove: &[String],
    reweight: &BTreeMap<String, u32>,
) -> Result<Vec<NodeSpec>, ApiError> {
    let mut names: HashSet<&str> = current.iter().map(|node| node.name.as_str()).collect();
    if let Some(unknown) = remove.iter().find(|name| !names.remove(name.as_str())) {
        return Err(ApiError::unknown_node(unknown));
    }
    let mut nodes: Vec<NodeSpec> =
        current.iter().filter(|node| names.contains(node.name.as_str())).cloned().collect();
    if let Some(unknown) = reweight.keys().find(|name| !names.contains(name.as_str())) {
        return Err(ApiError::unknown_node(unknown));
    }
    for node in &mut nodes {
        node.weight = reweight.get(&node.name).copied().unwrap_or(node.weight);
    }
    for body in add {
        if !names.insert(body.name()) {
            let name: String = body.name().chars().take(64).collect();
            let message = format!("there is a node '{}' already", name.escape_debug());
            return Err(ApiError::conflict("node_exists", message));
        }
        nodes.push(body.spec(None));
    }
    Ok(nodes)
}

impl NodeBody {
    /// Refuses unknown fields; `place` says where it stands.
    pub(crate) fn check_in(&self, place: &str) -> Result<(), ApiError> {
        check_unknown(place, &self.unknown, &NODE_FIELDS)?;
        required(place, "name", &self.name)?;
        required(place, "address", &self.address)?;
        Ok(())
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The node, with what is known of its credentials where the caller says nothing.
    pub(crate) fn spec(&self, known: Option<&Credentials>) -> NodeSpec {
        let mut credentials = known.cloned().unwrap_or_default();
        change_credentials(&mut credentials, &self.username, &self.password);
        NodeSpec {
            name: self.name().to_owned(),
            address: self.address.clone().unwrap_or_default(),
            weight: self.weight,
            credentials,
        }
    }
}

fn change_credentials(
    credentials: &mut Credentials,
    username: &Option<Option<String>>,
    password: &Option<Option<Password>>,
) {
    if let Some(username) = username {
        credentials.username.clone_from(username);
    }
    if let Some(password) = password {
        credentials.password = password.as_ref().map(|password| password.0.clone());
    }
}

/// What a change did, in words for the history; names, addresses and weights, never a credential.
pub(crate) fn describe(before: &TopologySpec, after: &TopologySpec) -> String {
    let old: HashMap<&str, &NodeSpec> = before.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    let new: HashSet<&str> = after.nodes.iter().map(|node| node.name.as_str()).collect();
    let mut parts = Vec::new();
    for node in &after.nodes {
        match old.get(node.name.as_str()) {
            None => parts.push(format!("add {} ({}, weight {})", node.name, node.address, node.weight)),
            Some(old) => parts.extend(difference(old, node)),
        }
    }
    let gone = before.nodes.iter().filter(|node| !new.contains(node.name.as_str()));
    parts.extend(gone.map(|node| format!("remove {}", node.name)));
    match parts.len() {
        0 => "no difference".to_owned(),
        1..=8 => parts.join(", "),
        count => format!("{}, and {} more", parts[..8].join(", "), count - 8),
    }
}

fn difference(old: &NodeSpec, new: &NodeSpec) -> Vec<String> {
    let mut parts = Vec::new();
    if old.weight != new.weight {
        parts.push(format!("reweight {} from {} to {}", new.name, old.weight, new.weight));
    }
    if old.address != new.address {
        parts.push(format!("move {} from {} to {}", new.name, old.address, new.address));
    }
    if old.credentials != new.credentials {
        parts.push(format!("change the credentials of {}", new.name));
    }
    parts
}

#[cfg(test)]
#[path = "wish_tests.rs"]
mod tests;

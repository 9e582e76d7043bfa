//! Where nodes are, and which addresses no node may have: those of the proxy itself, and those at which nobody could speak to
//! it.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::{ApplyError, Control, Sentinel};
use crate::net::Endpoint;
use crate::settings::{NodeSpec, TopologySpec};
use crate::topology::NodeAddress;

/// How long to wait for what sentinels say.
const FIND_LIMIT: Duration = Duration::from_secs(2);

impl Control {
    /// Resolves the addresses that the current topology does not have yet.
    pub(super) async fn check_addresses(&self, spec: &TopologySpec) -> Result<(), ApplyError> {
        let current = self.topology();
        for node in &spec.nodes {
            if current.nodes().iter().any(|known| known.address == node.address) {
                continue;
            }
            let refused = |why: String| ApplyError::Unresolvable {
                node: node.name.clone(),
                address: node.address.clone(),
                why,
            };
            let is_own = match NodeAddress::parse(&node.address) {
                None => return Err(refused(NodeAddress::FORMS.to_owned())),
                Some(address) => {
                    self.check_spoken(node, address)?;
                    self.is_own_address(node).await.map_err(refused)?
                }
            };
            if is_own {
                return Err(ApplyError::OwnAddress {
                    node: node.name.clone(),
                    address: node.address.clone(),
                });
            }
        }
        Ok(())
    }

    /// Whether the node can be spoken to as its address says.
    pub(super) fn check_spoken(&self, node: &NodeSpec, address: NodeAddress<'_>) -> Result<(), ApplyError> {
        let (name, text) = (node.name.clone(), node.address.clone());
        if address.is_over_tls() && self.node_tls().is_none() {
            return Err(ApplyError::NoTls { node: name, address: text });
        }
        if matches!(address, NodeAddress::Sentinel { .. }) && !self.shared.ways.masters.are_asked() {
            return Err(ApplyError::NoSentinels { node: name, address: text });
        }
        Ok(())
    }

    /// Whether clients connect where the node is said to be.
    ///
    /// # Errors
    /// Why nobody knows where it is.
    async fn is_own_address(&self, node: &NodeSpec) -> Result<bool, String> {
        let place = self.find(node).await?;
        match NodeAddress::parse(&place) {
            Some(NodeAddress::Network(host, port) | NodeAddress::Tls(host, port)) => {
                let found = resolve(host, port).await?;
                Ok(found.iter().any(|address| self.is_own(*address)))
            }
            Some(NodeAddress::Unix(path)) => Ok(self.is_own_path(path)),
            Some(NodeAddress::Sentinel { .. }) | None => Ok(false),
        }
    }

    /// The address at which a node is now: its own, or the one that sentinels tell for it.
    ///
    /// # Errors
    /// Why nobody can tell, after two seconds at the latest.
    pub async fn find(&self, node: &NodeSpec) -> Result<String, String> {
        let looking = self.shared.ways.masters.resolve(&node.address);
        let (place, _) = tokio::time::timeout(FIND_LIMIT, looking)
            .await
            .map_err(|_| format!("no sentinel has told within {} s where it is", FIND_LIMIT.as_secs()))??;
        Ok(place.into_owned())
    }

    /// The address that sentinels have told last for a node whose own is the name of a master.
    pub fn found(&self, address: &str) -> Option<String> {
        self.shared.ways.masters.place_of(address)
    }

    /// How the sentinels did when they were asked last; none when there are none, or nothing to ask them.
    pub fn sentinels(&self) -> Vec<Sentinel> {
        self.shared.ways.masters.sentinels()
    }

    /// How often sentinels have named another server as the master of a node.
    pub fn master_switches(&self) -> u64 {
        self.shared.ways.masters.switches()
    }

    pub(super) fn is_own_path(&self, path: &Path) -> bool {
        // two names of one file are one socket
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let own = self.shared.endpoints.iter();
        own.filter_map(|own| own.path()).any(|own| real(own) == real(path))
    }

    pub(super) fn is_own(&self, address: SocketAddr) -> bool {
        let local = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
        self.shared.endpoints.iter().filter_map(Endpoint::network).any(|own| {
            address.port() == own.port()
                && (address.ip() == own.ip() || own.ip().is_unspecified() && local(address.ip()))
        })
    }
}

/// What a name means now.
async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let lookup = tokio::time::timeout(Duration::from_secs(2), tokio::net::lookup_host((host, port)));
    let found: Vec<SocketAddr> = match lookup.await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("no answer within 2 s".to_owned()),
    };
    if found.is_empty() { Err("no address".to_owned()) } else { Ok(found) }
}

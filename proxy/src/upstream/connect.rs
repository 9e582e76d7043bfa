//! How a link's connection is made: the socket, the greeting, and what must still hold when both are there.

use std::time::{Duration, Instant};

use super::exchange::ReplyTo;
use super::greeting::{Greeted, Greeting, Identity, greet};
use super::link::{Link, State};
use crate::net::Stream;
use crate::settings::NodeSpec;
use crate::topology::NodeAddress;

/// No more is sent than the node answers in this part of the operation timeout.
const PATIENCE_SHARE: u32 = 4;

/// That the node has not greeted in time. A server that does not speak TLS may say nothing to one who does.
pub(super) fn unmade_within(limit: Duration, spec: &NodeSpec) -> String {
    let hint = if NodeAddress::parse(&spec.address).is_some_and(|address| address.is_over_tls()) {
        " (does it speak TLS there?)"
    } else {
        ""
    };
    format!("no connection or no greeting within {} ms{hint}", limit.as_millis())
}

/// Why there is no connection.
pub(super) enum Unmade {
    /// The node, or the way to it, is at fault.
    Failed(String),
    /// It would not be what its client needs by now: nobody is at fault, and it is begun again.
    Outdated,
}

impl<T: ReplyTo + 'static> Link<T> {
    /// Connects and greets; returns how the node knows the connection, if it tells.
    pub(super) async fn connect(&self) -> Result<Option<Identity>, Unmade> {
        let (tracking, changes) = (self.tracking()?, self.wish_changes());
        self.stats.connects.add(1);
        let attempt = async {
            let stream = Stream::connect(&self.spec.address, &self.context.ways).await;
            let stream = stream.map_err(|error| error.to_string())?;
            let (fences, count) = self.fences.recent(Instant::now());
            let greeting = Greeting {
                credentials: &self.spec.credentials,
                name: None,
                lane: self.lane,
                fences: &fences,
                scripts: &self.context.scripts.all(),
                tracking: tracking.as_deref(),
            };
            let begun = Instant::now();
            let greeted = greet(&stream, &greeting).await?;
            // a connection that was given up in the meantime is not fenced on this one
            self.fenced.set(count);
            if self.fences.count() != count {
                return Err("another connection to it was given up just now".into());
            }
            Ok::<_, String>((stream, greeted, begun.elapsed()))
        };
        let limit = self.context.timeouts.connect;
        let (stream, Greeted { identity, rest }, greeting) = match tokio::time::timeout(limit, attempt).await
        {
            Ok(result) => result.map_err(Unmade::Failed)?,
            Err(_) => {
                return Err(Unmade::Failed(unmade_within(limit, &self.spec)));
            }
        };
        // what waits must not go to a master of the past
        if self.wish_changes() != changes || stream.is_outdated() {
            return Err(Unmade::Outdated);
        }
        // a node that tracks may have said something by now
        self.received(&rest).map_err(Unmade::Failed)?;
        *self.stream.borrow_mut() = Some(stream);
        self.id.set(identity.as_ref().map(Identity::id));
        self.exchange.borrow_mut().begin(
            Instant::now(),
            self.context.timeouts.operation / PATIENCE_SHARE,
            greeting,
        );
        self.stalled.set(false);
        self.broken.borrow_mut().take();
        self.stats.connections_changed(1);
        self.note_state(State::Up, "");
        self.flush();
        Ok(identity)
    }
}

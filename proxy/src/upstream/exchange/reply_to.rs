//! What an exchange knows of those who ask.

use crate::error::Failure;

/// Whoever waits for a reply.
pub(crate) trait ReplyTo {
    /// The next bytes of the reply; `last` with its end. A short reply comes in one call.
    fn reply(&self, bytes: &[u8], last: bool);
    /// Bytes of replies that wait for the asker to take them; none when it is not to be waited for.
    fn backlog(&self) -> usize;
    /// The asker was waited for in vain: it takes its replies too slowly.
    fn lags(&self) {}
    /// The same for all replies that one client waits for, and for no other's meanwhile.
    fn asker(&self) -> usize;
    /// A message that the node sent beside its replies, or what stands for messages that it can no longer send.
    fn told(&self, _message: &[u8], _when: When) {}
    /// No reply will come, or no more of it.
    fn fail(&self, failure: Failure<'_>);
}

/// Where a message takes its place among the replies to one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Behind those of which something has come.
    Now,
    /// Behind all that are awaited.
    Last,
}

//! Reading a long array element by element, so that it passes through little memory.

use super::{Dedicated, Lost, Patience, READ_BYTES, unknown};
use crate::resp::reply::{ReplyScan, ReplyScanner};

impl Dedicated {
    /// Reads up to the next line break: a short reply, or the head of an array. Without the break.
    ///
    /// # Errors
    /// [`Lost`]: UNKNOWN; so too when it is longer than what is read at once.
    pub(crate) async fn line(&mut self, patience: Patience) -> Result<Vec<u8>, Lost> {
        loop {
            if let Some(end) = self.partial.windows(2).position(|bytes| bytes == b"\r\n") {
                let rest = self.partial.split_off(end + 2);
                let mut line = std::mem::replace(&mut self.partial, rest);
                line.truncate(end);
                return Ok(line);
            }
            if self.partial.len() > READ_BYTES {
                return Err(unknown("it sent a line that does not end".into()));
            }
            self.read(patience).await?;
        }
    }

    /// Shows whole elements, at least one of the `left` that are to come and as many as have come; returns how many.
    ///
    /// # Errors
    /// [`Lost`]: UNKNOWN; so too when one is longer than `most` bytes.
    pub(crate) async fn elements(
        &mut self,
        left: u64,
        most: usize,
        patience: Patience,
        mut visit: impl FnMut(&[u8]),
    ) -> Result<u64, Lost> {
        loop {
            let (mut taken, mut count) = (0, 0);
            while count < left {
                let ahead = &self.partial[taken..];
                // keys are strings; anything that holds others would be scanned from its beginning with each read
                if ahead.first().is_some_and(|kind| *kind != b'$') {
                    return Err(unknown("it lists something that is no string".into()));
                }
                match ReplyScanner::default().scan(ahead).map_err(|error| unknown(error.to_string()))? {
                    ReplyScan::Complete(len) => {
                        visit(&ahead[..len]);
                        taken += len;
                        count += 1;
                    }
                    ReplyScan::Partial(_) => break,
                }
            }
            if count > 0 || left == 0 {
                self.partial.drain(..taken);
                self.partial.shrink_to(READ_BYTES);
                return Ok(count);
            }
            if self.partial.len() > most {
                return Err(unknown("one element of its reply is too long".into()));
            }
            self.read(patience).await?;
        }
    }
}

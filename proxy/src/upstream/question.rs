//! Questions to a node on a connection that is opened for them, outside of the way of commands.

use std::cell::Cell;
use std::future::poll_fn;
use std::time::Duration;

use super::Lost;
use super::greeting::{check, introduce, write_all};
use crate::error::Fate;
use crate::net::{Stream, Ways};
use crate::resp::Protocol;
use crate::resp::reply::{ReplyScan, ReplyScanner};
use crate::settings::NodeSpec;

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// Longest answer about what runs, in bytes.
const BUSY_BYTES: usize = 64 * 1024;

/// The whole replies to `requests`, of at most `most` bytes in all.
///
/// # Errors
/// Why they are not there, in words without secrets.
pub(crate) async fn ask_once(
    spec: &NodeSpec,
    ways: &Ways,
    requests: &[impl AsRef<[u8]>],
    most: usize,
    limit: Duration,
) -> Result<Vec<Vec<u8>>, String> {
    let asked = async {
        let stream = Stream::connect(&spec.address, ways).await.map_err(|error| error.to_string())?;
        let mut all = Vec::new();
        let step = introduce(&mut all, Protocol::Resp2, &spec.credentials);
        requests.iter().for_each(|request| all.extend_from_slice(request.as_ref()));
        write_all(&stream, &all).await.map_err(|error| error.to_string())?;
        let introduced = usize::from(step.is_some());
        let mut replies = read(&stream, introduced + requests.len(), most).await?;
        if let Some(step) = step {
            check(step, &replies.remove(0))?;
        }
        Ok(replies)
    };
    let answer = tokio::time::timeout(limit, asked).await;
    answer.map_err(|_| format!("no answer within {} ms", limit.as_millis()))?
}

/// Asks a node that a script may keep busy, on a connection for this alone: nothing is said before but who asks, since a
/// busy node refuses all else.
///
/// # Errors
/// [`Lost`], after `limit` at the latest.
pub(crate) async fn ask_busy(
    spec: &NodeSpec,
    ways: &Ways,
    protocol: Protocol,
    request: &[u8],
    limit: Duration,
) -> Result<Vec<u8>, Lost> {
    let written = Cell::new(false);
    let asked = async {
        let stream = Stream::connect(&spec.address, ways).await.map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        let step = introduce(&mut bytes, protocol, &spec.credentials);
        bytes.extend_from_slice(request);
        write_all(&stream, &bytes).await.map_err(|error| error.to_string())?;
        written.set(true);
        match step {
            None => read(&stream, 1, BUSY_BYTES).await.map(|replies| replies.concat()),
            Some(step) => {
                let mut replies = read(&stream, 2, BUSY_BYTES).await?;
                let reply = replies.pop().unwrap_or_default();
                // who is not let in has not been heard either
                check(step, &replies.concat()).inspect_err(|_| written.set(false))?;
                Ok(reply)
            }
        }
    };
    let answer = tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| {
        Err(format!(
            "no answer within {} ms; a server hears it once a script has run for its busy-reply-threshold",
            limit.as_millis()
        ))
    });
    let fate = if written.get() { Fate::Unknown } else { Fate::NotSent };
    answer.map_err(|why| Lost { fate, why })
}

async fn read(stream: &Stream, count: usize, most: usize) -> Result<Vec<Vec<u8>>, String> {
    let mut replies = vec![Vec::new(); count];
    let (mut have, mut left, mut buffer) = (Vec::new(), most, vec![0; READ_BYTES]);
    for reply in &mut replies {
        let (mut scanner, mut scanned) = (ReplyScanner::default(), 0);
        loop {
            match scanner.scan(&have[scanned..]).map_err(|error| error.to_string())? {
                ReplyScan::Complete(len) => {
                    let rest = have.split_off(scanned + len);
                    *reply = std::mem::replace(&mut have, rest);
                    break;
                }
                ReplyScan::Partial(used) => scanned += used,
            }
            match poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await.map_err(|error| error.to_string())? {
                0 => return Err("it closed the connection".into()),
                len => have.extend_from_slice(&buffer[..len]),
            }
            if have.len() > left {
                return Err("its reply is too long".into());
            }
        }
        left -= reply.len();
    }
    Ok(replies)
}

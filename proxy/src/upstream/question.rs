//! One question to a node on a connection that is opened for it, outside of the way of commands.

use std::future::poll_fn;
use std::time::Duration;

use super::Lane;
use super::greeting::{Greeting, greet, write_all};
use crate::net::Stream;
use crate::resp::reply::{ReplyScan, ReplyScanner};
use crate::settings::NodeSpec;

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// The whole reply to `request`, of at most `most` bytes.
///
/// # Errors
/// Why there is none, in words without secrets.
pub(crate) async fn ask_once(
    spec: &NodeSpec,
    request: &[u8],
    most: usize,
    limit: Duration,
) -> Result<Vec<u8>, String> {
    let asked = async {
        let stream = Stream::connect(&spec.address).await.map_err(|error| error.to_string())?;
        let credentials = &spec.credentials;
        let greeting =
            Greeting { credentials, lane: Lane::default(), fences: &[], scripts: &[], tracking: None };
        greet(&stream, &greeting).await?;
        write_all(&stream, request).await.map_err(|error| error.to_string())?;
        read(&stream, most).await
    };
    let answer = tokio::time::timeout(limit, asked).await;
    answer.map_err(|_| format!("no answer within {} ms", limit.as_millis()))?
}

async fn read(stream: &Stream, most: usize) -> Result<Vec<u8>, String> {
    let (mut scanner, mut scanned, mut reply) = (ReplyScanner::default(), 0, Vec::new());
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await.map_err(|error| error.to_string())? {
            0 => return Err("it closed the connection".into()),
            len => reply.extend_from_slice(&buffer[..len]),
        }
        match scanner.scan(&reply[scanned..]).map_err(|error| error.to_string())? {
            ReplyScan::Complete(len) => {
                reply.truncate(scanned + len);
                return Ok(reply);
            }
            ReplyScan::Partial(used) => scanned += used,
        }
        if reply.len() > most {
            return Err("its reply is too long".into());
        }
    }
}

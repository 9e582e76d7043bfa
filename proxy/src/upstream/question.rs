//! Questions to a node on a connection that is opened for them, outside of the way of commands.

use std::future::poll_fn;
use std::time::Duration;

use super::Lane;
use super::greeting::{Greeting, greet, write_all};
use crate::net::{Stream, Tls};
use crate::resp::reply::{ReplyScan, ReplyScanner};
use crate::settings::NodeSpec;

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// The whole replies to `requests`, of at most `most` bytes in all.
///
/// # Errors
/// Why they are not there, in words without secrets.
pub(crate) async fn ask_once<const N: usize>(
    spec: &NodeSpec,
    tls: &Tls,
    requests: [&[u8]; N],
    most: usize,
    limit: Duration,
) -> Result<[Vec<u8>; N], String> {
    let asked = async {
        let stream = Stream::connect(&spec.address, tls).await.map_err(|error| error.to_string())?;
        let credentials = &spec.credentials;
        let greeting =
            Greeting { credentials, lane: Lane::default(), fences: &[], scripts: &[], tracking: None };
        greet(&stream, &greeting).await?;
        write_all(&stream, &requests.concat()).await.map_err(|error| error.to_string())?;
        read(&stream, most).await
    };
    let answer = tokio::time::timeout(limit, asked).await;
    answer.map_err(|_| format!("no answer within {} ms", limit.as_millis()))?
}

async fn read<const N: usize>(stream: &Stream, most: usize) -> Result<[Vec<u8>; N], String> {
    let mut replies = [const { Vec::new() }; N];
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

//! Some strays of one database of one node, moved or deleted so that nothing written meanwhile is lost.
//!
//! ```text
//!   holder: WATCH keys · PTTL, MEMORY USAGE, DUMP ─► owner: RESTORE (never over a key) ─► the epoch is what it was?
//!           ─► holder: MULTI UNLINK keys EXEC
//! ```
//! Nobody should write a stray, since the ring sends no command to it. If somebody does all the same (another proxy with
//! an older ring, a client that speaks to the node itself, this proxy after a change of the ring), EXEC deletes nothing;
//! each key is then tried alone, and one whose value is not what was copied stays, alone: its copy is taken back. A key is
//! deleted only after its copy was answered for. Where the owner has another value, both stay: nobody here knows which
//! one is newer. A change of the ring that comes between the look at the epoch and EXEC may make the holder the owner
//! again: what was moved is put back there from the copy in hand.

use std::collections::BTreeMap;

use bb8_redis::redis::aio::MultiplexedConnection;
use bb8_redis::redis::{RedisResult, Value, cmd, pipe};
use ringway_proxy::control::Control;
use ringway_proxy::topology::Topology;

use super::job::{Break, still};
use super::servers::Servers;
use crate::limits;
use crate::pools::told;

/// A key that lies where it is not looked for.
#[derive(Debug)]
pub(super) struct Stray {
    pub(super) key: Vec<u8>,
    /// The place of its owner.
    pub(super) owner: usize,
}

/// What became of a stray.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Moved,
    /// The owner has another value; both stay.
    Superseded,
    Deleted,
    Gone,
    /// It stays, for this reason.
    Left(String),
}

const CHANGED: &str = "it was written to while it was dealt with, so somebody still uses it where it is";

/// See the head of this file.
pub(super) struct Batch<'a> {
    /// Whether they go to their owners; else they are deleted.
    pub(super) moves: bool,
    /// The place of the node that holds them.
    pub(super) source: usize,
    pub(super) database: u32,
    pub(super) topology: &'a Topology,
    pub(super) control: &'a Control,
}

/// The first byte of a dump whose elements have no order: two servers write the same value differently.
const UNORDERED: [u8; 2] = [2, 4];

/// A value as it stands at its owner.
#[derive(Debug, Clone)]
struct Copy {
    dump: Vec<u8>,
    /// As the owner writes it, where that may be otherwise.
    there: Option<Vec<u8>>,
    /// The rest of its life in milliseconds, 0 for ever.
    ttl_ms: i64,
    /// Whether it was put there just now, or stood there already.
    is_new: bool,
}

impl Copy {
    fn is_unordered(&self) -> bool {
        self.dump.first().is_some_and(|kind| UNORDERED.contains(kind))
    }
}

/// One stray on its way.
#[derive(Debug)]
struct Passage<'s> {
    stray: &'s Stray,
    copy: Option<Copy>,
    fate: Option<Fate>,
}

impl Passage<'_> {
    fn left(&mut self, why: &str) {
        self.fate = Some(Fate::Left(why.to_owned()));
    }
}

impl Batch<'_> {
    /// Deals with the first of `strays`, one at least: with as many as their sizes allow. Returns their fates, and whether
    /// the work goes on.
    ///
    /// # Errors
    /// The work cannot go on. When a server failed, some of these strays may be at their owner and at the holder as well.
    pub(super) async fn run(
        &self,
        servers: &mut Servers,
        strays: &[Stray],
    ) -> Result<(Vec<Fate>, Result<(), Break>), Break> {
        let mut holder = servers.at(self.source).in_database(self.database).await?;
        self.of_holder(servers, watch(&mut holder, strays.iter().map(|stray| &*stray.key)).await)?;
        let passage = |stray| Passage { stray, copy: None, fate: None };
        let mut passages: Vec<Passage<'_>> = strays.iter().map(passage).collect();
        if self.moves {
            self.copy(servers, &mut holder, &mut passages).await?;
        }
        self.hold_on(servers, &passages).await?;
        let mut going: Vec<&mut Passage<'_>> =
            passages.iter_mut().filter(|passage| passage.fate.is_none()).collect();
        if self.unlink(servers, &mut holder, &mut going).await? {
            self.forget_gone(servers, &passages).await?;
        } else {
            for passage in going {
                self.alone(servers, &mut holder, passage).await?;
            }
        }
        let goes_on = self.put_back(servers, &passages).await;
        Ok((passages.into_iter().map_while(|passage| passage.fate).collect(), goes_on))
    }

    fn of_holder<T>(&self, servers: &mut Servers, answer: RedisResult<T>) -> Result<T, String> {
        answer.map_err(|error| servers.at(self.source).named(&told(&error)))
    }

    /// Copies as many as their sizes allow to their owners; drops the rest of `passages`.
    async fn copy(
        &self,
        servers: &mut Servers,
        holder: &mut MultiplexedConnection,
        passages: &mut Vec<Passage<'_>>,
    ) -> Result<(), Break> {
        let sizes = self.sizes(servers, holder, passages).await?;
        let (mut bytes, mut count) = (0, 0);
        for (passage, size) in passages.iter().zip(sizes) {
            let size = size.filter(|_| passage.fate.is_none()).unwrap_or(0);
            if count > 0 && bytes + size > limits::STRAYS_BYTES {
                break;
            }
            bytes += size;
            count += 1;
        }
        passages.truncate(count);
        let mut asks = pipe();
        let open = || passages.iter().filter(|passage| passage.fate.is_none());
        if open().next().is_none() {
            return Ok(());
        }
        open().for_each(|passage| {
            asks.cmd("PTTL").arg(&passage.stray.key).cmd("DUMP").arg(&passage.stray.key);
        });
        let answers = asks.ignore_errors().query_async::<Vec<RedisResult<Value>>>(holder).await;
        let answers = self.of_holder(servers, answers)?;
        let open = passages.iter_mut().filter(|passage| passage.fate.is_none());
        for (passage, answer) in open.zip(answers.chunks(2)) {
            match answer {
                [Ok(_), Ok(Value::Nil)] => passage.fate = Some(Fate::Gone),
                [Ok(Value::Int(ttl_ms)), Ok(Value::BulkString(dump))] => {
                    // RESTORE takes 0 for a key that lives for ever
                    let ttl_ms = if *ttl_ms < 0 { 0 } else { (*ttl_ms).max(1) };
                    passage.copy = Some(Copy { dump: dump.clone(), there: None, ttl_ms, is_new: true });
                }
                [Err(error), _] | [_, Err(error)] => {
                    passage.left(&servers.at(self.source).named(&told(error)));
                }
                _ => passage.left(&servers.at(self.source).named("it answers DUMP with no dump")),
            }
        }
        self.restore(servers, passages).await
    }

    /// How much memory each takes up; notes the fate of those that cannot be moved. The usual answer is an estimate from a
    /// few elements, and a value may be made so that it is wrong: what it finds small is asked for exactly, which costs
    /// less than to read the value.
    async fn sizes(
        &self,
        servers: &mut Servers,
        holder: &mut MultiplexedConnection,
        passages: &mut [Passage<'_>],
    ) -> Result<Vec<Option<usize>>, Break> {
        let mut sizes = vec![None; passages.len()];
        for exactly in [false, true] {
            let open: Vec<usize> = (0..passages.len()).filter(|at| passages[*at].fate.is_none()).collect();
            if open.is_empty() {
                break;
            }
            let mut asks = pipe();
            for at in &open {
                asks.cmd("MEMORY").arg("USAGE").arg(&passages[*at].stray.key);
                if exactly {
                    asks.arg("SAMPLES").arg(0);
                }
            }
            let answers = asks.ignore_errors().query_async::<Vec<RedisResult<Option<u64>>>>(holder).await;
            for (at, answer) in open.into_iter().zip(self.of_holder(servers, answers)?) {
                match answer {
                    Ok(None) => passages[at].fate = Some(Fate::Gone),
                    Ok(Some(size)) if size > limits::STRAY_BYTES as u64 => {
                        let most = limits::STRAY_BYTES >> 20;
                        passages[at].left(&format!("it takes up more than {most} MiB: move it by hand"));
                    }
                    Ok(Some(size)) => sizes[at] = Some(size as usize),
                    Err(error) => passages[at].left(&servers.at(self.source).named(&told(&error))),
                }
            }
        }
        Ok(sizes)
    }

    /// Writes the copies to the owners, never over a key that is there.
    async fn restore(&self, servers: &mut Servers, passages: &mut [Passage<'_>]) -> Result<(), Break> {
        let mut by_owner: BTreeMap<usize, Vec<&mut Passage<'_>>> = BTreeMap::new();
        for passage in passages.iter_mut().filter(|passage| passage.copy.is_some()) {
            by_owner.entry(passage.stray.owner).or_default().push(passage);
        }
        for (owner, passages) in by_owner {
            let mut connection = servers.at(owner).in_database(self.database).await?;
            let mut restores = pipe();
            for passage in &passages {
                let Some(Copy { dump, ttl_ms, .. }) = &passage.copy else { continue };
                restores.cmd("RESTORE").arg(&passage.stray.key).arg(ttl_ms).arg(dump);
            }
            let answers = restores.ignore_errors().query_async::<Vec<RedisResult<()>>>(&mut connection).await;
            let answers = answers.map_err(|error| servers.at(owner).named(&told(&error)))?;
            for (passage, answer) in passages.into_iter().zip(answers) {
                match answer {
                    Ok(()) => {
                        if let Some(copy) = passage.copy.as_mut().filter(|copy| copy.is_unordered()) {
                            let there = dump(&mut connection, &passage.stray.key).await;
                            copy.there = there.map_err(|error| servers.at(owner).named(&told(&error)))?;
                        }
                    }
                    Err(error) if error.code() == Some("BUSYKEY") => {
                        let there = dump(&mut connection, &passage.stray.key).await;
                        let there = there.map_err(|error| servers.at(owner).named(&told(&error)))?;
                        match &mut passage.copy {
                            // from work that was broken off
                            Some(copy) if there.as_ref() == Some(&copy.dump) => copy.is_new = false,
                            _ => {
                                passage.copy = None;
                                passage.fate = Some(Fate::Superseded);
                            }
                        }
                    }
                    Err(error) => {
                        passage.copy = None;
                        passage.left(&servers.at(owner).named(&told(&error)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends the work when the topology is another one; what was copied is taken back.
    async fn hold_on(&self, servers: &mut Servers, passages: &[Passage<'_>]) -> Result<(), Break> {
        let Err(changed) = still(self.topology, self.control) else { return Ok(()) };
        for passage in passages {
            self.take_back(servers, passage).await?;
        }
        Err(changed)
    }

    /// Deletes what goes from the holder, all or nothing; false when one of the watched keys has changed.
    async fn unlink(
        &self,
        servers: &mut Servers,
        holder: &mut MultiplexedConnection,
        going: &mut [&mut Passage<'_>],
    ) -> Result<bool, Break> {
        let answers = unlink_watched(holder, going.iter().map(|passage| &*passage.stray.key)).await;
        let Some(answers) = self.of_holder(servers, answers)? else { return Ok(false) };
        for (passage, answer) in going.iter_mut().zip(answers) {
            passage.fate = Some(match answer {
                0 => Fate::Gone,
                _ if self.moves => Fate::Moved,
                _ => Fate::Deleted,
            });
        }
        Ok(true)
    }

    /// Deals with one stray whose deletion among others came to nothing.
    async fn alone(
        &self,
        servers: &mut Servers,
        holder: &mut MultiplexedConnection,
        passage: &mut Passage<'_>,
    ) -> Result<(), Break> {
        let key = &*passage.stray.key;
        self.of_holder(servers, watch(holder, std::iter::once(key)).await)?;
        if let Some(copy) = &passage.copy {
            let there = self.of_holder(servers, dump(holder, key).await)?;
            if there.is_none() {
                passage.fate = Some(Fate::Gone);
            } else if there.as_ref() != Some(&copy.dump) {
                passage.left(CHANGED);
            }
        }
        self.hold_on(servers, std::slice::from_ref(passage)).await?;
        if passage.fate.is_some() {
            self.of_holder(servers, cmd("UNWATCH").query_async::<()>(holder).await)?;
        } else if !self.unlink(servers, holder, &mut [&mut *passage]).await? {
            passage.left(CHANGED);
        }
        match passage.fate {
            Some(Fate::Left(_) | Fate::Gone) => self.take_back(servers, passage).await,
            _ => Ok(()),
        }
    }

    /// What had expired at its holder must not live on at its owner.
    async fn forget_gone(&self, servers: &mut Servers, passages: &[Passage<'_>]) -> Result<(), Break> {
        for passage in passages.iter().filter(|passage| passage.fate == Some(Fate::Gone)) {
            self.take_back(servers, passage).await?;
        }
        Ok(())
    }

    /// Takes a copy away from its owner, unless somebody has written to it since.
    async fn take_back(&self, servers: &mut Servers, passage: &Passage<'_>) -> Result<(), Break> {
        let Some(copy) = passage.copy.as_ref().filter(|copy| copy.is_new) else { return Ok(()) };
        let (owner, key) = (passage.stray.owner, &*passage.stray.key);
        let mut connection = servers.at(owner).in_database(self.database).await?;
        let taken = async {
            watch(&mut connection, std::iter::once(key)).await?;
            if dump(&mut connection, key).await?.as_ref() == Some(copy.there.as_ref().unwrap_or(&copy.dump)) {
                unlink_watched(&mut connection, std::iter::once(key)).await.map(drop)
            } else {
                cmd("UNWATCH").query_async::<()>(&mut connection).await
            }
        };
        let taken: RedisResult<()> = taken.await;
        taken.map_err(|error| servers.at(owner).named(&told(&error)).into())
    }

    /// If the ring was changed in the last moment, gives what was moved to whoever owns it now, unless that has a key of
    /// this name.
    async fn put_back(&self, servers: &mut Servers, passages: &[Passage<'_>]) -> Result<(), Break> {
        let Err(changed) = still(self.topology, self.control) else { return Ok(()) };
        let now = self.control.topology();
        for passage in passages.iter().filter(|passage| passage.fate == Some(Fate::Moved)) {
            let index = now.owner(&passage.stray.key).home();
            let place = now.node(index).and_then(|node| servers.place(node));
            let (Some(place), Some(Copy { dump, ttl_ms, .. })) = (place, &passage.copy) else { continue };
            if place == passage.stray.owner {
                continue;
            }
            let mut connection = servers.at(place).in_database(self.database).await?;
            let mut restore = cmd("RESTORE");
            let restored = restore.arg(&passage.stray.key).arg(ttl_ms).arg(dump);
            if let Err(error) = restored.query_async::<()>(&mut connection).await
                && error.code() != Some("BUSYKEY")
            {
                return Err(servers.at(place).named(&told(&error)).into());
            }
        }
        Err(changed)
    }
}

async fn watch<'k>(
    connection: &mut MultiplexedConnection,
    keys: impl Iterator<Item = &'k [u8]>,
) -> RedisResult<()> {
    let mut watch = cmd("WATCH");
    keys.for_each(|key| {
        watch.arg(key);
    });
    watch.query_async(connection).await
}

async fn dump(connection: &mut MultiplexedConnection, key: &[u8]) -> RedisResult<Option<Vec<u8>>> {
    cmd("DUMP").arg(key).query_async(connection).await
}

/// Deletes keys in one transaction, or none when a watched one has changed: then nothing is answered. For each key whether
/// it was there. One step after the other: a server that refuses MULTI must not be sent what stands behind it.
async fn unlink_watched<'k>(
    connection: &mut MultiplexedConnection,
    keys: impl Iterator<Item = &'k [u8]>,
) -> RedisResult<Option<Vec<i64>>> {
    let mut unlinks = pipe();
    for key in keys {
        unlinks.cmd("UNLINK").arg(key);
    }
    if unlinks.is_empty() {
        cmd("UNWATCH").query_async::<()>(connection).await?;
        return Ok(Some(Vec::new()));
    }
    cmd("MULTI").query_async::<()>(connection).await?;
    unlinks.query_async::<()>(connection).await?;
    cmd("EXEC").query_async(connection).await
}

//! Some strays of one database of one node, moved or deleted so that nothing written meanwhile is lost.
//!
//! ```text
//!   holder: WATCH keys · PTTL, MEMORY USAGE, DUMP ─► owner: RESTORE (never over a key) ─► the epoch is what it was?
//!           ─► holder: MULTI UNLINK keys EXEC
//! ```
//! Nobody should write a stray, since the ring sends no command to it. If somebody does all the same (another proxy with
//! an older ring, a client that speaks to the node itself, this proxy after a change of the ring), EXEC deletes nothing;
//! each copied key is then tried alone, and one whose value is not what was copied stays. A key is deleted only after its
//! copy was answered for. A change of the ring that comes between the look at the epoch and EXEC may make the holder the
//! owner again: what was deleted there is put back from the copy in hand.

use std::collections::BTreeMap;

use bb8_redis::redis::aio::MultiplexedConnection;
use bb8_redis::redis::{RedisError, RedisResult, cmd, pipe};
use ringway_proxy::control::Control;
use ringway_proxy::topology::{Owner, Topology};

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
    Superseded,
    Deleted,
    Gone,
    /// It stays, for this reason.
    Left(String),
}

const CHANGED: &str = "it was written to while it was dealt with, so somebody still uses it where it is";
const MAY_HAVE_CHANGED: &str = "it, or one that it was to be deleted with, was written to meanwhile, so somebody still uses it where it is";

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

/// A value as it was copied, and the rest of its life in milliseconds, 0 for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Copy {
    dump: Vec<u8>,
    ttl_ms: i64,
}

/// One stray on its way.
#[derive(Debug)]
struct Passage<'s> {
    stray: &'s Stray,
    copy: Option<Copy>,
    fate: Option<Fate>,
}

impl Batch<'_> {
    /// Deals with the first of `strays`, one at least: with as many as their sizes allow. Returns their fates.
    ///
    /// # Errors
    /// The work cannot go on; of these strays some may be at their owner and at the holder as well.
    pub(super) async fn run(&self, servers: &mut Servers, strays: &[Stray]) -> Result<Vec<Fate>, Break> {
        let mut holder = servers.at(self.source).in_database(self.database).await?;
        let failed = |servers: &mut Servers, error: RedisError| {
            Break::from(servers.at(self.source).named(&told(&error)))
        };
        watch(&mut holder, strays).await.map_err(|error| failed(servers, error))?;
        let mut passages: Vec<Passage<'_>> =
            strays.iter().map(|stray| Passage { stray, copy: None, fate: None }).collect();
        if self.moves {
            self.copy(servers, &mut holder, &mut passages).await?;
        }
        still(self.topology, self.control)?;
        if self.unlink(servers, &mut holder, &mut passages).await? {
            self.put_back(servers, &passages).await?;
        } else {
            for passage in &mut passages {
                self.alone(servers, &mut holder, passage).await?;
            }
        }
        Ok(passages.into_iter().map_while(|passage| passage.fate).collect())
    }

    /// Copies as many as their sizes allow to their owners; drops the rest of `passages`.
    async fn copy(
        &self,
        servers: &mut Servers,
        holder: &mut MultiplexedConnection,
        passages: &mut Vec<Passage<'_>>,
    ) -> Result<(), Break> {
        let mut looks = pipe();
        for passage in passages.iter() {
            looks.cmd("PTTL").arg(&passage.stray.key).cmd("MEMORY").arg("USAGE").arg(&passage.stray.key);
        }
        let looks = looks.ignore_errors().query_async::<Vec<RedisResult<Option<i64>>>>(holder).await;
        let looks = looks.map_err(|error| servers.at(self.source).named(&told(&error)))?;
        let (mut bytes, mut count) = (0, 0);
        let mut dumps = pipe();
        let mut lives = Vec::new();
        for (passage, look) in passages.iter_mut().zip(looks.chunks(2)) {
            let [ttl_ms, size] = look else { break };
            // what a server does not tell counts as little: its answer to DUMP is bounded by its own limit for values
            let size = size
                .as_ref()
                .ok()
                .copied()
                .flatten()
                .and_then(|size| usize::try_from(size).ok())
                .unwrap_or(0);
            if count > 0 && bytes + size > limits::STRAYS_BYTES {
                break;
            }
            count += 1;
            match ttl_ms {
                Ok(Some(-2)) => passage.fate = Some(Fate::Gone),
                Ok(_) if size > limits::STRAY_BYTES => {
                    let most = limits::STRAY_BYTES >> 20;
                    passage.fate =
                        Some(Fate::Left(format!("it takes up more than {most} MiB: move it by hand")));
                }
                Ok(Some(ttl_ms)) => {
                    bytes += size;
                    dumps.cmd("DUMP").arg(&passage.stray.key);
                    // RESTORE takes 0 for a key that lives for ever
                    lives.push(if *ttl_ms < 0 { 0 } else { (*ttl_ms).max(1) });
                }
                Ok(None) => {
                    passage.fate = Some(Fate::Left("its node does not tell how long it lives".to_owned()))
                }
                Err(error) => passage.fate = Some(Fate::Left(servers.at(self.source).named(&told(error)))),
            }
        }
        passages.truncate(count);
        if lives.is_empty() {
            return Ok(());
        }
        let dumps = dumps.ignore_errors().query_async::<Vec<RedisResult<Option<Vec<u8>>>>>(holder).await;
        let dumps = dumps.map_err(|error| servers.at(self.source).named(&told(&error)))?;
        let open = passages.iter_mut().filter(|passage| passage.fate.is_none());
        for ((passage, ttl_ms), dump) in open.zip(lives).zip(dumps) {
            match dump {
                Ok(Some(dump)) => passage.copy = Some(Copy { dump, ttl_ms }),
                Ok(None) => passage.fate = Some(Fate::Gone),
                Err(error) => passage.fate = Some(Fate::Left(servers.at(self.source).named(&told(&error)))),
            }
        }
        self.restore(servers, passages).await
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
                let Some(Copy { dump, ttl_ms }) = &passage.copy else { continue };
                restores.cmd("RESTORE").arg(&passage.stray.key).arg(ttl_ms).arg(dump);
            }
            let answers = restores.ignore_errors().query_async::<Vec<RedisResult<()>>>(&mut connection).await;
            let answers = answers.map_err(|error| servers.at(owner).named(&told(&error)))?;
            for (passage, answer) in passages.into_iter().zip(answers) {
                match answer {
                    Ok(()) => {}
                    Err(error) if error.code() == Some("BUSYKEY") => {
                        passage.copy = None;
                        passage.fate = Some(Fate::Superseded);
                    }
                    Err(error) => {
                        passage.copy = None;
                        passage.fate = Some(Fate::Left(servers.at(owner).named(&told(&error))));
                    }
                }
            }
        }
        Ok(())
    }

    /// Deletes what may go from the holder, all or nothing; false when one of the watched keys has changed.
    async fn unlink(
        &self,
        servers: &mut Servers,
        holder: &mut MultiplexedConnection,
        passages: &mut [Passage<'_>],
    ) -> Result<bool, Break> {
        let mut goes: Vec<&mut Passage<'_>> =
            passages.iter_mut().filter(|passage| self.goes(passage)).collect();
        let mut unlink = pipe();
        unlink.atomic();
        // one by one, so that each tells whether it was there
        goes.iter().for_each(|passage| {
            unlink.cmd("UNLINK").arg(&passage.stray.key);
        });
        if goes.is_empty() {
            // EXEC would have ended the watch
            let ended = cmd("UNWATCH").query_async::<()>(holder).await;
            ended.map_err(|error| servers.at(self.source).named(&told(&error)))?;
            return Ok(true);
        }
        let answers = unlink.query_async::<Option<Vec<i64>>>(holder).await;
        let answers = answers.map_err(|error| servers.at(self.source).named(&told(&error)))?;
        let Some(answers) = answers else { return Ok(false) };
        for (passage, answer) in goes.iter_mut().zip(answers) {
            let there = answer == 1;
            passage.fate = Some(match &passage.fate {
                Some(fate) => fate.clone(),
                None if !there => Fate::Gone,
                None if self.moves => Fate::Moved,
                None => Fate::Deleted,
            });
        }
        Ok(true)
    }

    /// Whether the holder is to let it go.
    fn goes(&self, passage: &Passage<'_>) -> bool {
        match &passage.fate {
            None => !self.moves || passage.copy.is_some(),
            Some(fate) => *fate == Fate::Superseded,
        }
    }

    /// Deals with one stray whose deletion among others came to nothing. Without a copy nobody can tell whether it is the
    /// one that was written to.
    async fn alone(
        &self,
        servers: &mut Servers,
        holder: &mut MultiplexedConnection,
        passage: &mut Passage<'_>,
    ) -> Result<(), Break> {
        let Some(copy) = &passage.copy else {
            if self.goes(passage) {
                passage.fate = Some(Fate::Left(MAY_HAVE_CHANGED.to_owned()));
            }
            return Ok(());
        };
        let failed = |servers: &mut Servers, error: &RedisError| servers.at(self.source).named(&told(error));
        watch(holder, std::slice::from_ref(passage.stray)).await.map_err(|error| failed(servers, &error))?;
        let dump = cmd("DUMP").arg(&passage.stray.key).query_async::<Option<Vec<u8>>>(holder).await;
        if dump.map_err(|error| failed(servers, &error))?.is_some_and(|dump| dump != copy.dump) {
            passage.fate = Some(Fate::Left(CHANGED.to_owned()));
        }
        still(self.topology, self.control)?;
        let passages = std::slice::from_mut(passage);
        if !self.unlink(servers, holder, passages).await? {
            passages[0].fate = Some(Fate::Left(CHANGED.to_owned()));
        }
        self.put_back(servers, passages).await
    }

    /// If the ring was changed in the last moment, gives what was moved to whoever owns it now, unless that has a key of
    /// this name.
    async fn put_back(&self, servers: &mut Servers, passages: &[Passage<'_>]) -> Result<(), Break> {
        let Err(changed) = still(self.topology, self.control) else { return Ok(()) };
        let now = self.control.topology();
        for passage in passages.iter().filter(|passage| passage.fate == Some(Fate::Moved)) {
            let Owner::Node(index) = now.owner(&passage.stray.key);
            let place = now.node(index).and_then(|node| servers.place(node));
            let (Some(place), Some(Copy { dump, ttl_ms })) = (place, &passage.copy) else { continue };
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

async fn watch(holder: &mut MultiplexedConnection, strays: &[Stray]) -> RedisResult<()> {
    let mut watch = cmd("WATCH");
    strays.iter().for_each(|stray| {
        watch.arg(&stray.key);
    });
    watch.query_async(holder).await
}

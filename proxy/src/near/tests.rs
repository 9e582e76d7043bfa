//! The near cache without IO: what holds, for how long, and in how much memory.

use super::*;
use crate::command::{self, Join, Keys, Route};
use crate::resp::Span;
use crate::resp::encode;
use crate::resp::request::{RequestBounds, RequestScanner};

const LINE: u64 = 1;
const EPOCH: u64 = 1;
const HOT: u8 = 8;

struct Bench {
    cache: NearCache,
    stats: Arc<WorkerStats>,
    start: Instant,
}

/// A request, to be read.
struct Request {
    frame: Vec<u8>,
    spans: Vec<Span>,
}

impl Request {
    fn new(words: &[&str]) -> Self {
        let (mut frame, mut spans) = (Vec::new(), Vec::new());
        encode::request(&mut frame, words);
        let bounds = RequestBounds { authenticated: true, command_bytes: usize::MAX };
        RequestScanner::default().scan(&frame, bounds, &mut spans).unwrap();
        Self { frame, spans }
    }

    fn read(&self, bench: &Bench) -> Read<'_> {
        let args = Args::new(&self.frame, &self.spans);
        let command = command::resolve(&args).unwrap();
        Read::of(bench.cache.ledger(), 0, command, args).expect("it is kept")
    }
}

impl Bench {
    fn new(settings: NearCacheSettings, writes: &Arc<Writes>) -> Self {
        let stats = Arc::new(WorkerStats::default());
        let cache = NearCache::new(settings, settings.memory_bytes, Arc::clone(writes), Arc::clone(&stats));
        Self { cache, stats, start: Instant::now() }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn begin(&self, words: &[&str], millis: u64) -> Option<u64> {
        self.cache.begin(&Request::new(words).read(self), LINE, EPOCH, self.at(millis))
    }

    fn fill(&self, words: &[&str], reply: &str, millis: u64) {
        let number = self.begin(words, millis).expect("it may be asked for");
        self.cache.filled(number, Some(reply.as_bytes()), None, self.at(millis));
    }

    fn answer_by(&self, words: &[&str], protocol: Protocol, epoch: u64, millis: u64) -> Option<String> {
        let (request, mut told) = (Request::new(words), None);
        let now = self.at(millis);
        let by = By { protocol, epoch, now, exactly: || now };
        let has = self.cache.answer(&request.read(self), &by, |reply| {
            told = Some(String::from_utf8(reply.to_vec()).unwrap());
        });
        assert_eq!(has, told.is_some());
        told
    }

    fn answer(&self, words: &[&str], millis: u64) -> Option<String> {
        self.answer_by(words, Protocol::Resp2, EPOCH, millis)
    }

    fn write(&self, key: &str) -> WriteGuard {
        self.cache.ledger().write([key.as_bytes()].into_iter()).begin()
    }

    fn bytes(&self) -> usize {
        self.cache.inner.borrow().store.bytes()
    }
}

fn bench() -> Bench {
    Bench::new(NearCacheSettings::default(), &Arc::default())
}

#[test]
fn what_is_kept_are_reads_of_one_key_that_stands_first() {
    let rows: Vec<_> = command::all().filter(|row| row.kept).collect();
    assert!(rows.len() > 30);
    for row in rows {
        assert!(row.may_repeat() && row.keys == Keys::One(1) && row.route == Route::Key, "{}", row.name);
    }
    // the one of many keys whose parts are kept, as GET reads them
    let of_many = command::all().filter(|row| row.route == Route::Split(Join::Values));
    assert_eq!(of_many.map(|row| row.name).collect::<Vec<_>>(), ["mget"]);
}

#[test]
fn an_answer_holds_for_its_read_alone_in_both_protocols_until_it_is_old() {
    let bench = bench();
    bench.fill(&["HGET", "h", "f"], "_\r\n", 0);
    assert_eq!(bench.answer(&["hget", "h", "f"], 999).as_deref(), Some("$-1\r\n"));
    let newer = bench.answer_by(&["HGET", "h", "f"], Protocol::Resp3, EPOCH, 5);
    assert_eq!(newer.as_deref(), Some("_\r\n"));
    assert_eq!(bench.answer(&["HGET", "h", "g"], 5), None, "another field");
    assert_eq!(bench.answer(&["HSTRLEN", "h", "f"], 5), None, "another command");
    assert_eq!(bench.answer(&["HMGET", "h", "f", "f"], 5), None);
    assert_eq!(bench.answer(&["HGET", "h", "f"], 1000), None, "it is old");
    assert_eq!(
        bench.answer_by(&["HGET", "h", "f"], Protocol::Resp2, EPOCH + 1, 5),
        None,
        "the ring is another"
    );
}

#[test]
fn each_key_of_an_mget_is_read_as_get_reads_it() {
    let bench = bench();
    bench.fill(&["GET", "a"], "$1\r\n1\r\n", 0);
    let get = command::find_full(b"get").unwrap();
    let all = |words: &[&str]| {
        let request = Request::new(words);
        let args = Args::new(&request.frame, &request.spans);
        let by = By { protocol: Protocol::Resp2, epoch: EPOCH, now: bench.start, exactly: Instant::now };
        let reads = Read::all(bench.cache.ledger(), 0, get, args)?;
        Some(
            reads
                .map(|read| (read.key().to_vec(), bench.cache.len(&read, &by).is_some()))
                .collect::<Vec<_>>(),
        )
    };
    let (a, b) = (b"a".to_vec(), b"b".to_vec());
    assert_eq!(all(&["MGET", "a", "b", "a"]).unwrap(), [(a.clone(), true), (b, false), (a, true)]);
    // what is asked for of it is a GET
    let (request, mut asked) = (Request::new(&["MGET", "x", "yz"]), Vec::new());
    let reads = Read::all(bench.cache.ledger(), 0, get, Args::new(&request.frame, &request.spans));
    reads.unwrap().for_each(|read| read.request(&mut asked));
    let mut expected = Vec::new();
    encode::request(&mut expected, &["get", "x"]);
    encode::request(&mut expected, &["get", "yz"]);
    assert_eq!(asked, expected);
    // all of it, or nothing: here b is written when a has been answered
    bench.fill(&["GET", "b"], "$1\r\n2\r\n", 0);
    let pair = Request::new(&["MGET", "a", "b"]);
    let by = By { protocol: Protocol::Resp2, epoch: EPOCH, now: bench.start, exactly: Instant::now };
    let reads = || {
        Read::all(bench.cache.ledger(), 0, get, Args::new(&pair.frame, &pair.spans)).expect("they are few")
    };
    let (mut out, hits) = (b"*2\r\n".to_vec(), || bench.stats.near.hits.get());
    assert!(bench.cache.answer_all(reads(), &by, &mut out));
    assert_eq!((&out[..], hits()), (&b"*2\r\n$1\r\n1\r\n$1\r\n2\r\n"[..], 2));
    out.truncate(4);
    let mut guard = None;
    let written = reads().inspect(|read| {
        if read.key() == b"b" {
            guard = Some(bench.write("b"));
        }
    });
    assert!(!bench.cache.answer_all(written, &by, &mut out));
    assert_eq!((&out[..], hits()), (&b"*2\r\n"[..], 2));
    // nor are many keys looked at, or long ones
    let mut many = vec!["MGET"];
    many.resize(1 + MOST_AT_ONCE, "a");
    assert!(all(&many).is_some());
    many.push("a");
    assert!(all(&many).is_none());
    assert!(all(&["MGET", &"a".repeat(LONGEST_REQUEST)]).is_none());
}

#[test]
fn nothing_is_kept_for_longer_than_its_key_lives() {
    let bench = bench();
    let number = bench.begin(&["GET", "k"], 0).unwrap();
    bench.cache.filled(number, Some(b"$1\r\na\r\n"), Some(Duration::from_millis(300)), bench.at(10));
    assert!(bench.answer(&["GET", "k"], 299).is_some());
    assert_eq!(bench.answer(&["GET", "k"], 300), None);
    let number = bench.begin(&["GET", "late"], 0).unwrap();
    bench.cache.filled(number, Some(b"$1\r\na\r\n"), Some(Duration::from_millis(5)), bench.at(6));
    assert_eq!(bench.answer(&["GET", "late"], 6), None);
}

#[test]
fn after_a_write_nothing_holds_that_was_asked_for_before_or_meanwhile() {
    let bench = bench();
    bench.fill(&["GET", "k"], "$1\r\na\r\n", 0);
    let write = bench.write("k");
    assert_eq!(bench.answer(&["GET", "k"], 1), None, "it may have run");
    assert_eq!(bench.begin(&["GET", "k"], 1), None, "nobody knows what this would be");
    drop(write);
    assert_eq!(bench.answer(&["GET", "k"], 1), None);
    // asked for before the write, answered behind it
    let number = bench.begin(&["GET", "k"], 2).unwrap();
    drop(bench.write("k"));
    bench.cache.filled(number, Some(b"$1\r\na\r\n"), None, bench.at(3));
    assert_eq!(bench.answer(&["GET", "k"], 3), None);
    // one that ended and one that goes on
    let number = bench.begin(&["GET", "k"], 2).unwrap();
    let (first, second) = (bench.write("k"), bench.write("k"));
    drop(first);
    bench.cache.filled(number, Some(b"$1\r\na\r\n"), None, bench.at(3));
    assert_eq!(bench.answer(&["GET", "k"], 3), None);
    drop(second);
    bench.fill(&["GET", "k"], "$1\r\nb\r\n", 4);
    assert!(bench.answer(&["GET", "k"], 5).is_some());
    drop(bench.cache.ledger().write_all().begin());
    assert_eq!(bench.answer(&["GET", "k"], 5), None, "all keys were written");
}

#[test]
fn workers_see_each_others_writes() {
    let writes = Arc::default();
    let (one, other) = (
        Bench::new(NearCacheSettings::default(), &writes),
        Bench::new(NearCacheSettings::default(), &writes),
    );
    one.fill(&["GET", "k"], "$1\r\na\r\n", 0);
    drop(other.write("k"));
    assert_eq!(one.answer(&["GET", "k"], 1), None);
}

#[test]
fn guards_that_are_put_together_hold_what_both_held_and_end_once() {
    let bench = bench();
    let stamp = |key: &str| bench.cache.ledger().quiet(bench.cache.ledger().hash(key.as_bytes()));
    let write = |key: &str| bench.cache.ledger().write([key.as_bytes()].into_iter());
    let both = write("a").and(&write("b")).and(&write("a"));
    assert!(stamp("a").is_some() && stamp("b").is_some(), "it has not begun");
    let both = both.begin();
    assert!(stamp("a").is_none() && stamp("b").is_none());
    drop(both);
    assert!(stamp("a").is_some() && stamp("b").is_some());
    let all = write("a").and(&bench.cache.ledger().write_all()).and(&write("b")).begin();
    assert!(stamp("another").is_none());
    drop(all);
    assert!(stamp("a").is_some() && stamp("b").is_some() && stamp("another").is_some());
    let keys: Vec<String> = (0..2000).map(|key| key.to_string()).collect();
    let many = bench.cache.ledger().write(keys.iter().map(|key| key.as_bytes())).begin();
    assert!(stamp("another").is_none(), "so many that it counts as all");
    drop(many);
    assert!(stamp("another").is_some());
    let few = bench.cache.ledger().write(keys[..200].iter().map(|key| key.as_bytes())).begin();
    assert!(stamp("7").is_none());
    drop(few);
    // one that may wait for long keeps nothing from being kept, but ends it
    let (waits, before) = (write("a"), stamp("a"));
    assert!(before.is_some());
    drop(waits);
    assert!(stamp("a").is_some() && stamp("a") != before);
}

#[test]
fn what_a_node_says_is_dropped_also_when_it_is_on_its_way() {
    let bench = bench();
    bench.fill(&["GET", "k"], "$1\r\na\r\n", 0);
    bench.fill(&["STRLEN", "k"], ":1\r\n", 0);
    bench.cache.invalidate(b"k");
    assert_eq!((bench.answer(&["GET", "k"], 1), bench.answer(&["STRLEN", "k"], 1)), (None, None));
    let number = bench.begin(&["GET", "k"], 2).unwrap();
    bench.cache.invalidate(b"k");
    bench.cache.filled(number, Some(b"$1\r\na\r\n"), None, bench.at(2));
    assert_eq!(bench.answer(&["GET", "k"], 3), None);
    // a connection is lost: what was asked for on another one stays
    bench.fill(&["GET", "k"], "$1\r\na\r\n", 4);
    let other = Request::new(&["GET", "other"]);
    let number = bench.cache.begin(&other.read(&bench), LINE + 1, EPOCH, bench.at(4)).unwrap();
    bench.cache.filled(number, Some(b"$1\r\nb\r\n"), None, bench.at(4));
    let lost = bench.begin(&["GET", "coming"], 4).unwrap();
    bench.cache.lost(LINE);
    bench.cache.filled(lost, Some(b"$1\r\na\r\n"), None, bench.at(4));
    assert_eq!((bench.answer(&["GET", "k"], 5), bench.answer(&["GET", "coming"], 5)), (None, None));
    assert!(bench.answer(&["GET", "other"], 5).is_some());
}

#[test]
fn what_is_not_worth_keeping_is_not_asked_for_again_and_again() {
    let bench = bench();
    for reply in ["-WRONGTYPE x\r\n", "#t\r\n"] {
        bench.cache.lost(LINE);
        bench.fill(&["GET", "k"], reply, 0);
        assert_eq!((bench.answer(&["GET", "k"], 2), bench.begin(&["GET", "k"], 999)), (None, None));
        bench.cache.invalidate(b"k");
        bench.fill(&["GET", "k"], "$1\r\na\r\n", 2);
        assert!(bench.answer(&["GET", "k"], 3).is_some());
    }
    let number = bench.begin(&["GET", "long"], 0).unwrap();
    bench.cache.filled(number, None, None, bench.at(1));
    bench.cache.invalidate(b"long");
    assert_eq!((bench.answer(&["GET", "long"], 2), bench.begin(&["GET", "long"], 59_000)), (None, None));
    assert!(bench.begin(&["GET", "long"], 61_001).is_some());
    // what was not asked for may be at once
    bench.cache.not_asked(bench.begin(&["GET", "other"], 0).unwrap());
    assert!(bench.begin(&["GET", "other"], 0).is_some());
    // what comes is awaited, and asked for again when it does not come
    assert!(bench.begin(&["GET", "coming"], 0).is_some());
    assert_eq!(bench.begin(&["GET", "coming"], 999), None);
    assert!(bench.begin(&["GET", "coming"], 1000).is_some());
}

#[test]
fn i6_memory_is_bounded_and_what_is_not_asked_for_goes_first() {
    let settings = NearCacheSettings { memory_bytes: 100_000, ..NearCacheSettings::default() };
    let bench = Bench::new(settings, &Arc::default());
    let value = format!("$1000\r\n{}\r\n", "v".repeat(1000));
    for key in 0..1000 {
        bench.fill(&["GET", &key.to_string()], &value, 0);
        assert!(bench.answer(&["GET", "0"], 1).is_some(), "it is asked for all the time ({key})");
        assert!(bench.bytes() <= 100_000);
    }
    assert!(bench.answer(&["GET", "999"], 1).is_some() && bench.answer(&["GET", "500"], 1).is_none());
    // a node that says again and again that all has changed
    for _ in 0..1000 {
        bench.fill(&["GET", "k"], "$1\r\na\r\n", 0);
        bench.cache.lost(LINE);
    }
    assert!(bench.cache.inner.borrow().store.places() < 600);
    // many different reads of one key
    for field in 0..1000 {
        bench.fill(&["HGET", "h", &field.to_string()], &value, 0);
        assert!(bench.bytes() <= 100_000);
    }
    // and in the end nothing is left
    (0..100).for_each(|moment| bench.cache.cool(bench.at(2000 + moment)));
    assert_eq!((bench.bytes(), bench.cache.kept_keys().len()), (0, 0));
}

#[test]
fn a_key_must_be_read_often_before_it_is_asked_for() {
    let bench = bench();
    let request = Request::new(&["GET", "k"]);
    assert!((1..HOT).all(|_| !bench.cache.is_hot(&request.read(&bench))));
    assert!(bench.cache.is_hot(&request.read(&bench)));
    bench.fill(&["GET", "k"], "$1\r\na\r\n", 0);
    assert!(!bench.cache.is_hot(&request.read(&bench)), "it begins anew");
    assert!((1..HOT - 2).all(|_| !bench.cache.is_hot(&request.read(&bench))));
    bench.cache.cool(bench.at(0));
    assert!(!bench.cache.is_hot(&request.read(&bench)), "what was counted fades");
    assert_eq!(bench.cache.kept_keys()[0].key, b"k");
}

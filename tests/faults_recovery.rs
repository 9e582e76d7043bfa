//! How long a fault of a node is felt, measured at clients of the built binary with the product's own timeouts. Each test
//! prints its figures (`-- --nocapture`); what it demands is far above them, so that a busy machine breaks nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::frame::bulk_request;
use crate::support::rig::Rig;
use crate::support::watch::{Seen, Told, Watch, percentile, told};
use crate::support::{RawClient, RedisServer, StopAtEnd, wait_for};

/// Far above every figure that is promised.
const SOON: Duration = Duration::from_secs(5);

fn watch(rig: &Rig, node: usize) -> Watch {
    Watch::start(rig.program.address(), &rig.key_of(node), 4)
}

/// Waits until a server answers past the proxy; answers when.
fn wait_answers(server: &RedisServer) -> Instant {
    loop {
        if server.client().call(&["PING"]) == b"+PONG\r\n" {
            return Instant::now();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Long enough for every client to be served again, on any machine.
fn settle(rig: &Rig, key: &str) {
    let mut clients: Vec<RawClient> = (0..4).map(|_| rig.program.client()).collect();
    wait_for("the node", || clients.iter_mut().all(|client| told(&client.call(&["INCR", key])) == Told::Ok));
    std::thread::sleep(Duration::from_millis(200));
}

fn undisturbed(what: &str, seen: &Seen) {
    let failed = seen.all().filter(|sample| sample.told != Told::Ok).count();
    assert_eq!(failed, 0, "{what}: the other node is not concerned");
    let times = || seen.all().map(|sample| sample.took);
    println!("{what}: other node's p50 {:?}, p99 {:?}", percentile(times(), 50), percentile(times(), 99));
}

/// Eight clients with 100 commands each on their way; answers how long after the kill the last of these was answered,
/// and what was told of them.
fn kill_at_full_load(rig: &mut Rig) -> (Duration, [usize; 3]) {
    let batch = bulk_request(&["INCR", &rig.key_of(1)]).repeat(100);
    let address = rig.program.address();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = RawClient::connect(address);
                    let mut batches = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        client.send(&batch);
                        let replies: Vec<Told> = (0..100).map(|_| told(&client.reply())).collect();
                        batches.push((Instant::now(), replies));
                    }
                    batches
                })
            })
            .collect();
        let ended = StopAtEnd(&stop);
        std::thread::sleep(Duration::from_millis(300));
        let killed = Instant::now();
        rig.server(1).kill();
        std::thread::sleep(Duration::from_millis(300));
        drop(ended);
        let (mut last, mut counts) = (Duration::ZERO, [0; 3]);
        for client in clients {
            // of each client the first commands that felt it: the kill may take effect a little after it was sent
            let batches = client.join().expect("the client");
            let felt = batches.iter().find(|(_, replies)| replies.iter().any(|told| *told != Told::Ok));
            let (answered, replies) = felt.expect("the node is dead");
            last = last.max(answered.saturating_duration_since(killed));
            for (count, what) in counts.iter_mut().zip([Told::Ok, Told::Unknown, Told::NotSent]) {
                *count += replies.iter().filter(|told| **told == what).count();
            }
        }
        (last, counts)
    })
}

#[test]
fn a1_what_was_in_flight_is_answered_at_once_and_the_node_is_back_soon() {
    let mut rig = Rig::hasty(2);
    let (killed, other) = (rig.key_of(1), watch(&rig, 2));
    let (last, [ok, unknown, not_sent]) = kill_at_full_load(&mut rig);
    println!(
        "a1: the last of what was in flight was answered {last:?} after the kill ({ok} ok, {unknown} UNKNOWN, \
         {not_sent} NOTSENT)"
    );
    assert!(last < SOON && unknown + not_sent > 0);
    // while it is down
    let mut client = rig.program.client();
    let refused = |client: &mut RawClient| {
        let at = Instant::now();
        assert_eq!(told(&client.call(&["INCR", &killed])), Told::NotSent);
        at.elapsed()
    };
    let times: Vec<Duration> = (0..2000).map(|_| refused(&mut client)).collect();
    let of = |percent| percentile(times.iter().copied(), percent);
    println!("a1: later commands were refused after {:?} (p50), {:?} (p99)", of(50), of(99));
    assert!(of(50) < Duration::from_millis(50));
    let watch = watch(&rig, 1);
    rig.server(1).restart();
    let up = wait_answers(&rig.servers[0]);
    settle(&rig, &killed);
    let back = watch.stop().served_again_after(up);
    println!("a1: all clients were served again {back:?} after the node answered");
    assert!(back < SOON);
    undisturbed("a1", &other.stop());
}

#[test]
fn a3_a_stopped_node_is_unknown_once_then_refused_and_back_soon_after_it_wakes() {
    let rig = Rig::hasty(2);
    let key = rig.key_of(1);
    let (watch, other) = (watch(&rig, 1), watch(&rig, 2));
    std::thread::sleep(Duration::from_millis(200));
    let stopped = Instant::now();
    rig.servers[0].pause();
    std::thread::sleep(Duration::from_secs(5));
    let resumed = Instant::now();
    rig.servers[0].resume();
    settle(&rig, &key);
    let seen = watch.stop();
    let unknown: Vec<_> = seen.all().filter(|sample| sample.told == Told::Unknown).collect();
    let slowest = unknown.iter().map(|sample| sample.took).max().expect("one at least");
    let back = seen.served_again_after(resumed);
    let refused = seen.all().filter(|sample| sample.told == Told::NotSent);
    let quickly = percentile(refused.map(|sample| sample.took), 99);
    println!(
        "a3: UNKNOWN after {slowest:?}, then refused within {quickly:?} (p99), back {back:?} after it woke"
    );
    assert!(unknown.len() <= 4, "each client waits for the node once");
    assert!(slowest < SOON && quickly < Duration::from_millis(500) && back < SOON);
    assert!(seen.all().all(|sample| sample.told != Told::Unknown || sample.at < stopped + SOON));
    undisturbed("a3", &other.stop());
}

#[test]
fn a3_a_node_that_sleeps_for_three_seconds_is_given_up_and_back_soon() {
    let rig = Rig::hasty(2);
    let key = rig.key_of(1);
    let (watch, other) = (watch(&rig, 1), watch(&rig, 2));
    std::thread::sleep(Duration::from_millis(200));
    let mut sleeper = rig.servers[0].client();
    assert_eq!(sleeper.call(&["DEBUG", "SLEEP", "3"]), b"+OK\r\n");
    let awake = Instant::now();
    settle(&rig, &key);
    let seen = watch.stop();
    let back = seen.served_again_after(awake);
    println!("a3: DEBUG SLEEP 3: back {back:?} after it woke, {} UNKNOWN", seen.count(Told::Unknown));
    assert!((1..=4).contains(&seen.count(Told::Unknown)) && back < SOON);
    undisturbed("a3: DEBUG SLEEP 3", &other.stop());
}

#[test]
fn a3_a_script_without_end_is_told_as_busy_and_is_no_reason_to_give_up() {
    let servers =
        (0..2).map(|_| RedisServer::start_with(&["--busy-reply-threshold", "200"])).collect::<Vec<_>>();
    let rig = Rig::on(servers, "", &[]);
    let key = rig.key_of(1);
    let connects = rig.connects();
    let (watch, other) = (watch(&rig, 1), watch(&rig, 2));
    let mut looping = rig.servers[0].client();
    looping.send_command(&["EVAL", "while true do end", "0"]);
    let mut client = rig.program.client();
    let mut busy = String::new();
    wait_for("the node to be busy", || {
        busy = client.text(&["INCR", &key]);
        busy.starts_with("-BUSY ")
    });
    assert_eq!(rig.servers[0].client().text(&["INCR", &key]), busy, "byte for byte");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(client.text(&["INCR", &key]), busy);
    let killed = Instant::now();
    assert_eq!(rig.servers[0].client().text(&["SCRIPT", "KILL"]), "+OK\r\n");
    settle(&rig, &key);
    let seen = watch.stop();
    println!("a3: busy with a script: served {:?} after it was killed", seen.served_again_after(killed));
    assert_eq!((seen.count(Told::NotSent), seen.count(Told::Unknown)), (0, 0), "nothing was given up");
    assert_eq!(rig.connects(), connects);
    undisturbed("a3: busy", &other.stop());
}

#[test]
fn a3_the_proxys_own_standstill_is_not_blamed_on_nodes() {
    let rig = Rig::hasty(2);
    let key = rig.key_of(1);
    let connects = || rig.connects();
    let before = connects();
    let watches = [watch(&rig, 1), watch(&rig, 2)];
    let mut depth = rig.program.client();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(200));
        depth.send(&bulk_request(&["INCR", &key]).repeat(500));
        rig.program.signal(Signal::STOP);
        std::thread::sleep(Duration::from_secs(3));
        rig.program.signal(Signal::CONT);
        (0..500).for_each(|n| assert_eq!(told(&depth.reply()), Told::Ok, "reply {n}"));
    }
    std::thread::sleep(Duration::from_millis(200));
    for seen in watches.map(Watch::stop) {
        assert_eq!((seen.count(Told::NotSent), seen.count(Told::Unknown)), (0, 0));
        assert!(seen.longest() >= Duration::from_secs(2), "the standstill was felt");
    }
    assert_eq!(connects(), before, "no connection was given up");
    assert_eq!(rig.metric("ringway_node_up"), 2.0);
}

#[test]
fn a7_a_node_that_loads_stays_out_until_it_answers_ping() {
    let slowly = ["--key-load-delay", "100", "--loading-process-events-interval-bytes", "1024"];
    let servers = vec![RedisServer::start_with(&slowly), RedisServer::start()];
    let mut rig = Rig::on(servers, "", &[]);
    let key = rig.key_of(1);
    let server = &rig.servers[0];
    let filled: String = server.call(&[
        "EVAL",
        "for i = 1, 20000 do redis.call('SET', 'fill:' .. i, 'x') end return 'OK'",
        "0",
    ]);
    assert_eq!(filled, "OK");
    assert_eq!(server.client().text(&["SET", &key, "41"]), "+OK\r\n");
    assert_eq!(server.client().text(&["SAVE"]), "+OK\r\n");
    let (watch, other) = (watch(&rig, 1), watch(&rig, 2));
    rig.server(1).restart();
    let loading = rig.servers[0].client().text(&["PING"]);
    assert!(loading.starts_with("-LOADING "), "{loading}");
    let mut client = rig.program.client();
    wait_for("the reason to be told", || {
        let refused = client.text(&["INCR", &key]);
        assert!(refused.starts_with("-NOTSENT ") || refused.starts_with("-UNKNOWN "), "{refused}");
        refused.contains("LOADING")
    });
    let loaded = wait_answers(&rig.servers[0]);
    settle(&rig, &key);
    let seen = watch.stop();
    let back = seen.served_again_after(loaded);
    println!("a7: back {back:?} after the node had loaded, {} refused", seen.count(Told::NotSent));
    assert!(back < SOON);
    assert_eq!(seen.count(Told::Error), 0, "no command is sent while it loads");
    undisturbed("a7", &other.stop());
}

#[test]
fn a7_errors_of_real_nodes_are_forwarded_byte_for_byte() {
    let servers = vec![RedisServer::start_with(&["--save", "3600", "1"])];
    let rig = Rig::on(servers, "", &[]);
    let (server, mut client) = (&rig.servers[0], rig.program.client());
    let connects = rig.connects();
    let direct = |command: &[&str]| server.client().text(command);
    let set = |name: &str, value: &str| assert_eq!(direct(&["CONFIG", "SET", name, value]), "+OK\r\n");
    let mut both_say = |begin: &str, command: &[&str]| {
        for _ in 0..20 {
            let said = client.text(command);
            assert!(said.starts_with(begin), "{said}");
            assert_eq!(said, direct(command), "byte for byte");
        }
    };
    set("maxmemory", "1");
    both_say("-OOM ", &["SET", "k", "v"]);
    set("maxmemory", "0");
    assert_eq!(direct(&["REPLICAOF", "127.0.0.1", "1"]), "+OK\r\n");
    both_say("-READONLY ", &["SET", "k", "v"]);
    assert_eq!(direct(&["REPLICAOF", "NO", "ONE"]), "+OK\r\n");
    // a snapshot that cannot be written: its place is a directory
    let folder: Vec<String> = server.call(&["CONFIG", "GET", "dir"]);
    std::fs::create_dir(format!("{}/dump.rdb", folder[1])).expect("a directory");
    assert_eq!(direct(&["SET", "k", "v"]), "+OK\r\n");
    assert!(direct(&["BGSAVE"]).starts_with('+'));
    wait_for("the snapshot to fail", || {
        direct(&["INFO", "persistence"]).contains("rdb_last_bgsave_status:err")
    });
    both_say("-MISCONF ", &["SET", "k", "v"]);
    // the node refuses PING as well, and serves reads, also to a connection that is new
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(rig.connects(), connects, "an error is no death");
    assert_eq!(direct(&["PING"]).split(' ').next(), Some("-MISCONF"));
    let _: usize = server.call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    let mut client = rig.program.client();
    wait_for("new connections", || client.text(&["GET", "k"]) == "$1\r\nv\r\n" && rig.connects() > connects);
    for _ in 0..20 {
        assert_eq!(client.text(&["GET", "k"]), "$1\r\nv\r\n");
        assert!(client.text(&["SET", "k", "w"]).starts_with("-MISCONF "));
    }
    assert_eq!(rig.metric("ringway_node_up"), 1.0);
}

#[test]
fn a3_a_script_without_end_is_told_as_busy_also_after_a_rest() {
    let rig = Rig::on(vec![RedisServer::start_with(&["--busy-reply-threshold", "200"])], "", &[]);
    let connects = rig.connects();
    let mut looping = rig.servers[0].client();
    looping.send_command(&["EVAL", "while true do end", "0"]);
    // nobody asks but the proxy, whether the node is there
    std::thread::sleep(Duration::from_millis(2500));
    let mut client = rig.program.client();
    assert!(client.text(&["INCR", "k"]).starts_with("-BUSY "));
    assert_eq!(rig.servers[0].client().text(&["SCRIPT", "KILL"]), "+OK\r\n");
    wait_for("the end of the script", || told(&client.call(&["INCR", "k"])) == Told::Ok);
    assert_eq!(rig.connects(), connects, "nothing was given up");
}

#[test]
fn a14_half_the_nodes_die_and_return_together() {
    const NODES: usize = 6;
    let mut rig = Rig::hasty(NODES);
    let watches: Vec<Watch> =
        (1..=NODES).map(|node| Watch::start(rig.program.address(), &rig.key_of(node), 2)).collect();
    let keys: Vec<String> = (1..=NODES / 2).map(|node| rig.key_of(node)).collect();
    let (memory, connects) = (rig.memory(), rig.connects());
    rig.servers[..NODES / 2].iter_mut().for_each(RedisServer::kill);
    let killed = Instant::now();
    std::thread::sleep(Duration::from_secs(3));
    let tried = rig.connects() - connects;
    let allowed = (NODES / 2) as f64 * 10.0 * (killed.elapsed().as_secs_f64() + 1.0);
    println!("a14: {tried} connects to {} dead nodes within {:?}", NODES / 2, killed.elapsed());
    assert!(tried <= allowed, "{tried} connects");
    rig.servers[..NODES / 2].iter_mut().for_each(RedisServer::restart);
    let up = rig.servers[..NODES / 2].iter().map(wait_answers).max().expect("a node");
    keys.iter().for_each(|key| settle(&rig, key));
    let seen: Vec<Seen> = watches.into_iter().map(Watch::stop).collect();
    let (died, stayed) = seen.split_at(NODES / 2);
    let back = died.iter().map(|seen| seen.served_again_after(up)).max().expect("a node");
    println!("a14: half the nodes returned: all clients were served again {back:?} after they answered");
    assert!(back < SOON);
    stayed.iter().for_each(|seen| undisturbed("a14", seen));
    rig.grew_at_most(memory, 16 << 20, "half the nodes died and returned");
}

//! Crowds with the numbers that are promised: clients that never read, that drip, that come and go, more than there are
//! descriptors for. Each test prints its figures (`-- --nocapture`).

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::frame::bulk_request;
use crate::support::rig::{MIB, Rig, raise_descriptors, ticks_of};
use crate::support::watch::{Told, Watch, percentile};
use crate::support::{NoReply, RawClient, RedisServer, StopAtEnd, wait_for};

/// Sends as much as is taken until the other end closes; answers how much that was.
fn pour(client: &RawClient, bytes: &[u8]) -> usize {
    let mut sender = client.sender();
    let mut sent = 0;
    while sent < bytes.len() {
        match sender.write(&bytes[sent..]) {
            Ok(len) => sent += len,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    sent
}

/// Samples the proxy's memory while `work` goes on; answers by how much it grew at most.
fn most_memory<R>(rig: &Rig, work: impl FnOnce() -> R) -> (u64, R) {
    let (before, stop) = (rig.memory(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut most = 0;
            while !stop.load(Ordering::Relaxed) {
                most = most.max(rig.memory().saturating_sub(before));
                std::thread::sleep(Duration::from_millis(5));
            }
            most
        });
        let ended = StopAtEnd(&stop);
        let result = work();
        drop(ended);
        (sampler.join().expect("the sampler"), result)
    })
}

#[test]
fn c3_a_hundred_thousand_gets_of_a_megabyte_that_nobody_reads() {
    let servers = (0..2).map(|_| RedisServer::start()).collect();
    let rig = Rig::on(servers, "limits: {reply_stuck: 3s}\n", &[]);
    let value = vec![b'x'; 1_000_000];
    let (large, small) = (rig.key_of(1), rig.key_of(2));
    assert_eq!(rig.program.client().call(&[b"SET".as_slice(), large.as_bytes(), &value]), b"+OK\r\n");
    // others on the very node, and on another one
    let same = Watch::start(rig.program.address(), &format!("{{{large}}}:n"), 2);
    let other = Watch::start(rig.program.address(), &small, 2);
    let gets = bulk_request(&["GET", &large]).repeat(100_000);
    let greedy = rig.program.client();
    let (most, sent) = most_memory(&rig, || {
        let sent = pour(&greedy, &gets);
        wait_for("it to be closed, as it takes nothing", || {
            rig.metric("ringway_clients_closed_total{reason=\"unread_replies\"}") == 1.0
        });
        sent
    });
    std::thread::sleep(Duration::from_millis(500));
    println!(
        "c3: {} MiB more at most; {sent} of {} bytes of its commands were taken",
        most / MIB,
        gets.len()
    );
    // reading stops long before the hard limit of 256 MiB
    assert!(most <= 64 * MIB, "{} MiB more", most / MIB);
    for (what, watch) in [("the same node", same), ("another node", other)] {
        let seen = watch.stop();
        let times = || seen.all().map(|sample| sample.took);
        println!(
            "c3: others on {what}: p50 {:?}, p99 {:?}, longest {:?}",
            percentile(times(), 50),
            percentile(times(), 99),
            seen.longest()
        );
        assert!(seen.all().all(|sample| sample.told == Told::Ok), "{what}");
        assert!(percentile(times(), 50) < Duration::from_millis(250), "{what}");
    }
}

#[test]
#[ignore = "takes 20,000 descriptors; make test-faults"]
fn long_c4_ten_thousand_commands_that_drip() {
    let limits = "limits: {clients: 10100, command_incomplete: 20s}\n";
    let rig = Rig::start(1, limits, &[]);
    let wanted = raise_descriptors(10_300).saturating_sub(300).min(10_000);
    assert!(wanted >= 2_000, "only {wanted} descriptors can be had here; raise `ulimit -n`");
    let starts: [&[u8]; 4] = [
        b"*3\r\n$3\r\nSET\r\n$4\r\nslow\r\n$536870912\r\nabc",
        b"*1048576\r\n$536870912\r\n",
        b"*2\r\n$3\r\nGET\r\n$50\r\nsl",
        b"SET slow inline",
    ];
    wait_for("rest", || rig.metric("ringway_client_connections") == 0.0);
    let before = rig.memory();
    let mut slow: Vec<RawClient> = (0..wanted).map(|_| rig.program.client()).collect();
    for (at, client) in slow.iter_mut().enumerate() {
        client.send(starts[at % starts.len()]);
    }
    let mut normal = rig.program.client();
    for _ in 0..5 {
        std::thread::sleep(Duration::from_secs(1));
        slow.iter_mut().for_each(|client| client.send(b"x"));
        assert_eq!(normal.text(&["EXISTS", "slow"]), ":0\r\n", "nothing goes upstream");
    }
    wait_for("all to be read", || rig.metric("ringway_client_connections") == wanted as f64 + 1.0);
    let each = rig.memory().saturating_sub(before) / wanted as u64;
    println!("c4: {each} bytes for each of {wanted} commands that drip");
    assert!(each <= 16 * 1024, "{each} bytes each");
    wait_for("their time to be over", || {
        rig.metric("ringway_clients_closed_total{reason=\"incomplete_command\"}") == wanted as f64
    });
    assert_eq!(normal.text(&["EXISTS", "slow"]), ":0\r\n");
}

#[test]
fn c5_five_thousand_come_and_go_every_second() {
    const SECONDS: u64 = 4;
    let rig = Rig::hasty(1);
    wait_for("rest", || rig.metric("ringway_client_connections") == 0.0);
    let (memory, descriptors) = (rig.memory(), rig.descriptors());
    let watch = Watch::start(rig.program.address(), "steady", 2);
    let (address, began) = (rig.program.address(), Instant::now());
    let churn = |thread: u64| {
        let mut served = 0u64;
        while began.elapsed() < Duration::from_secs(SECONDS) {
            // two threads with 2,500 a second each, or as many as the machine makes
            if served > began.elapsed().as_millis() as u64 * 5 / 2 {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let mut client = RawClient::connect(address);
            client.send(b"PING\r\n");
            if (served + thread).is_multiple_of(2) {
                assert_eq!(client.reply(), b"+PONG\r\n");
            }
            // with RST, so that no port is kept in TIME_WAIT
            client.reset();
            served += 1;
        }
        served
    };
    let served: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|thread| scope.spawn(move || churn(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    let seen = watch.stop();
    let times = || seen.all().map(|sample| sample.took);
    wait_for("all to be forgotten", || rig.metric("ringway_client_connections") == 0.0);
    wait_for("the descriptors to come back", || rig.descriptors() <= descriptors + 2);
    println!(
        "c5: {} clients a second came and went; another's p50 {:?}, p99 {:?}; {} KiB more afterwards",
        served / SECONDS,
        percentile(times(), 50),
        percentile(times(), 99),
        rig.memory().saturating_sub(memory) / 1024
    );
    assert!(served > 1000, "{served}");
    assert!(seen.all().all(|sample| sample.told == Told::Ok));
    rig.grew_at_most(memory, 16 * MIB, "clients that came and went");
    let ticks = rig.ticks();
    std::thread::sleep(Duration::from_secs(2));
    assert!(rig.ticks() - ticks < 60, "no work is left over");
}

#[test]
fn e1_with_256_descriptors_a_thousand_connect_and_nodes_keep_theirs() {
    raise_descriptors(1500);
    // the shell's limit is a hard one: the proxy cannot raise it
    let wrapper = ["sh", "-c", "ulimit -n 256 && exec \"$@\"", "sh"];
    let mut rig = Rig::on((0..2).map(|_| RedisServer::start()).collect(), "", &wrapper);
    let key = rig.key_of(1);
    let mut early = rig.program.client();
    assert_eq!(early.text(&["SET", &key, "v"]), "+OK\r\n");
    // some are told that there are too many, the kernel's backlog keeps those that the proxy cannot take
    let mut crowd: Vec<RawClient> = (0..1000).map(|_| rig.program.client()).collect();
    for client in &mut crowd {
        client.try_send(b"PING\r\n");
    }
    std::thread::sleep(Duration::from_millis(300));
    let ticks = rig.ticks();
    for _ in 0..100 {
        assert_eq!(early.text(&["GET", &key]), "$1\r\nv\r\n", "who is in is served");
        std::thread::sleep(Duration::from_millis(10));
    }
    // a second is 100 ticks; an accept loop that spins takes all of them
    let used = rig.ticks() - ticks;
    println!("e1: {used} ticks in a second; {} descriptors of 256", rig.descriptors());
    assert!(used < 60, "{used} ticks of about 100 while it could not accept");
    // a node that restarts now gets connections again
    rig.server(1).restart();
    wait_for("the node to be back", || early.call(&["SET", &key, "w"]) == b"+OK\r\n");
    let mut served = 0;
    for client in &mut crowd {
        match client.try_reply(Duration::from_millis(1)) {
            Ok(reply) if reply == b"+PONG\r\n" => served += 1,
            Ok(reply) => assert_eq!(reply, b"-ERR max number of clients reached\r\n"),
            Err(NoReply::Silent(_) | NoReply::Closed(_)) => {}
        }
    }
    println!("e1: {served} of 1,000 are in");
    assert!(served > 50, "{served}");
    drop(crowd);
    wait_for("room", || {
        let mut late = rig.program.client();
        late.try_call(&["PING"], Duration::from_secs(2)) == Ok(b"+PONG\r\n".to_vec())
    });
}

/// Clients that do not read, that drip and that announce, all at once, in a process that may not have more than 256 MiB.
#[test]
fn e2_a_real_limit_of_256_mib_is_survived() {
    let time = Duration::from_secs(8);
    raise_descriptors(4000);
    if !std::process::Command::new("prlimit").arg("--version").output().is_ok_and(|out| out.status.success())
    {
        return println!("e2 is skipped: prlimit is missing (Debian: util-linux)");
    }
    // the kernel refuses memory beyond it, and a process that is refused memory dies; a quarter of it is the default of a
    // control group with that limit
    let wrapper = ["prlimit", "--data=268435456"];
    let rig = Rig::start(2, "limits: {memory_bytes: 64MiB, command_incomplete: 10m}\n", &wrapper);
    let value = vec![b'x'; 1_000_000];
    assert_eq!(rig.program.client().call(&[b"SET".as_slice(), b"large", &value]), b"+OK\r\n");
    let gets = bulk_request(&["GET", "large"]).repeat(1024);
    let beginnings: [&[u8]; 3] = [
        b"*3\r\n$3\r\nSET\r\n$4\r\nslow\r\n$536870912\r\nabc",
        b"*2147483647\r\n",
        b"*1048576\r\n$536870912\r\n",
    ];
    let mut slow: Vec<RawClient> = (0..1500).map(|_| rig.program.client()).collect();
    slow.iter_mut().zip(beginnings.iter().cycle()).for_each(|(client, beginning)| client.send(beginning));
    let normal = Watch::start(rig.program.address(), "normal", 2);
    let end = Instant::now() + time;
    let (most, waves) = most_memory(&rig, || {
        let (mut waves, mut greedy) = (0, Vec::new());
        while Instant::now() < end {
            let more = (0..8).map(|_| rig.program.client()).inspect(|client| {
                pour(client, &gets);
            });
            greedy.extend(more);
            greedy.drain(..greedy.len().saturating_sub(40));
            for client in &mut slow {
                client.try_send(b"x");
            }
            std::thread::sleep(Duration::from_millis(300));
            waves += 1;
        }
        waves
    });
    let seen = normal.stop();
    let times = || seen.all().map(|sample| sample.took);
    println!(
        "e2: {} MiB more at most over {waves} waves with a limit of 256 MiB; another's p50 {:?}, p99 {:?}",
        most / MIB,
        percentile(times(), 50),
        percentile(times(), 99)
    );
    assert!(seen.all().all(|sample| sample.told == Told::Ok), "others are served");
    assert_eq!(rig.program.client().text(&["ECHO", "alive"]), "$5\r\nalive\r\n");
}

/// How many commands a second are answered when so many clients send so many a second each, answered or not, as long as
/// `time`.
fn goodput(rig: &Rig, command: &[u8], clients: usize, rate: f64, time: Duration) -> f64 {
    let address = rig.program.address();
    let run = || {
        let client = RawClient::connect(address);
        let (mut sender, began) = (client.sender(), Instant::now());
        let receiver = std::thread::spawn(move || {
            let (mut client, mut good) = (client, 0);
            while began.elapsed() < time {
                match client.try_reply(Duration::from_millis(50)) {
                    Ok(reply) => good += u64::from(reply == b":1\r\n"),
                    Err(NoReply::Silent(_)) => {}
                    Err(why) => panic!("{why:?}"),
                }
            }
            good
        });
        let mut sent = 0.0;
        while began.elapsed() < time {
            if sent > began.elapsed().as_secs_f64() * rate {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            sender.write_all(command).expect("it is taken");
            sent += 1.0;
        }
        receiver.join().expect("no panic")
    };
    let good: u64 = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(run)).collect();
        clients.into_iter().map(|client| client.join().expect("no panic")).sum()
    });
    good as f64 / time.as_secs_f64()
}

#[test]
fn e4_twice_what_a_node_can_do_is_offered_and_it_does_what_it_can() {
    // about one and a dozen milliseconds of the node's time, so that the node is what limits and not this machine
    for loops in [300_000, 3_000_000] {
        twice_what_a_node_can_do(&format!("for i = 1, {loops} do end return 1"));
    }
}

fn twice_what_a_node_can_do(script: &str) {
    let rig = Rig::hasty(2);
    let (hot, cool) = (rig.key_of(1), rig.key_of(2));
    let busy = bulk_request(&["EVAL", script, "1", &hot]);
    let time = Duration::from_secs(4);
    let watch = |what: &str, work: &mut dyn FnMut() -> f64| {
        let watch = Watch::start(rig.program.address(), &cool, 2);
        let before = ticks_of(rig.servers[0].pid());
        let rate = work();
        let spent = ticks_of(rig.servers[0].pid()) - before;
        let seen = watch.stop();
        assert!(seen.all().all(|sample| sample.told == Told::Ok), "{what}");
        (rate, spent as f64, percentile(seen.all().map(|sample| sample.took), 99))
    };
    // one client with little in flight says what it can do
    let (peak, peak_spent, calm) = watch("at its peak", &mut || {
        let mut client = rig.program.client();
        let (began, mut count) = (Instant::now(), 0);
        client.send(&busy.repeat(4));
        while began.elapsed() < time {
            assert_eq!(client.reply(), b":1\r\n");
            client.send(&busy);
            count += 1;
        }
        f64::from(count) / time.as_secs_f64()
    });
    let (good, spent, crowded) = watch("beyond it", &mut || goodput(&rig, &busy, 8, peak * 2.0 / 8.0, time));
    println!(
        "e4: {peak:.0} commands a second at its peak; {good:.0} ({:.0} %) when twice as many are offered, in {peak_spent} \
         and {spent} ticks of the node's time; the other node's p99 {calm:?} and {crowded:?}",
        100.0 * good / peak
    );
    // a busy machine may give the node less of itself
    let could = peak * spent / peak_spent;
    assert!(good > could / 2.0, "{good:.0} of {could:.0}");
    assert!(crowded < Duration::from_secs(1), "{crowded:?}");
    assert_eq!(rig.metric("ringway_node_up{node=\"n1\"}"), 1.0, "it answers all the time");
    assert!(rig.connects() < 20.0, "no connection is given up: {}", rig.connects());
}

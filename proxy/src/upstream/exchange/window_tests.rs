use super::*;

const PATIENCE: Duration = Duration::from_millis(250);
/// How long a node may be silent.
const OPERATION: Duration = Duration::from_secs(1);

const fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// One connection to the node of a [`Model`], whose clients always have more.
struct Connection {
    window: Window,
    /// Commands that clients have at most.
    clients: usize,
    sent: usize,
    end: u64,
    answered: usize,
}

/// A node as Redis is: it runs what has come of each connection, then it answers all.
struct Model {
    now: Instant,
    away: Duration,
    connections: Vec<Connection>,
    /// Commands that fit into one read.
    read: usize,
    longest: Duration,
}

impl Model {
    fn new(away: Duration) -> Self {
        Self { now: Instant::now(), away, connections: Vec::new(), read: 180, longest: Duration::ZERO }
    }

    /// One more connection; to be greeted takes as long as the node needs for what it has.
    fn connect(&mut self, clients: usize, each: Duration) {
        let busy: usize = self.connections.iter().map(|connection| connection.sent).sum();
        let greeting = self.away + each * u32::try_from(busy).unwrap();
        let window = Window::new(self.now, PATIENCE, greeting);
        self.connections.push(Connection { window, clients, sent: 0, end: 0, answered: 0 });
    }

    /// All connections send what they may, the node runs it in `each` for a command and `other` for what others sent.
    fn round(&mut self, each: Duration, other: Duration) {
        for Connection { window, clients, sent, end, .. } in &mut self.connections {
            let more = window.allowed().min(*clients).saturating_sub(*sent);
            window.hold_back(*sent + more < *clients);
            *sent += more;
            *end += more as u64;
            window.look(Duration::ZERO, self.now);
            if window.is_due() {
                window.begin(*sent, *end, self.now);
            }
        }
        let run: Vec<usize> =
            self.connections.iter().map(|connection| connection.sent.min(self.read)).collect();
        let total: usize = run.iter().sum();
        let took = each * u32::try_from(total).unwrap() + other + self.away;
        self.now += took;
        self.longest = self.longest.max(took);
        for (connection, run) in self.connections.iter_mut().zip(run) {
            connection.sent -= run;
            connection.answered += run;
            let awaited = connection.end - connection.sent as u64;
            connection.window.look(Duration::ZERO, self.now);
            connection.window.answered(if connection.sent == 0 { u64::MAX } else { awaited }, self.now);
        }
    }

    fn run_for(&mut self, time: Duration, each: Duration, other: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.round(each, other);
        }
    }

    fn commands(&self) -> usize {
        self.connections[0].window.commands
    }
}

fn one(clients: usize, away: Duration) -> Model {
    let mut model = Model::new(away);
    model.connect(clients, Duration::ZERO);
    model
}

#[test]
fn a_node_that_answers_at_once_is_soon_sent_all_there_is() {
    let mut model = one(1024, micros(100));
    (0..20).for_each(|_| model.round(micros(2), Duration::ZERO));
    let commands = model.commands();
    assert!(commands >= 1024, "{commands}");
    (0..100).for_each(|_| model.round(micros(2), Duration::ZERO));
    assert_eq!(model.commands(), commands, "and no more than it needs is let through for it");
    assert!(!model.connections[0].window.is_slow());
    let mut model = one(usize::MAX >> 1, micros(100));
    model.read = usize::MAX;
    (0..100).for_each(|_| model.round(Duration::ZERO, Duration::ZERO));
    assert_eq!(model.commands(), MOST_COMMANDS);
}

#[test]
fn a_slow_node_is_never_silent_for_long_and_never_without_work() {
    for each in [micros(300), micros(1_300), micros(6_000), micros(12_000), micros(60_000), micros(200_000)] {
        let mut model = one(100_000, micros(100));
        model.run_for(OPERATION * 60, each, Duration::ZERO);
        assert!(model.longest < OPERATION, "{each:?}: {:?}", model.longest);
        let busy = each * u32::try_from(model.connections[0].answered).unwrap();
        assert!(busy > OPERATION * 55, "{each:?}: {busy:?} of 60 s");
        assert!(each < micros(6_000) || model.connections[0].window.is_slow());
    }
}

#[test]
fn connections_that_come_one_after_another_all_get_their_part() {
    for each in [micros(1_300), micros(6_000), micros(12_000)] {
        for count in [2, 4, 8] {
            let mut model = Model::new(micros(100));
            for _ in 0..count {
                model.connect(10_000, each);
                model.run_for(OPERATION * 5, each, Duration::ZERO);
            }
            model.run_for(OPERATION * 60, each, Duration::ZERO);
            assert!(model.longest < OPERATION, "{count} × {each:?}: {:?}", model.longest);
            model.connections.iter_mut().for_each(|connection| connection.answered = 0);
            model.run_for(OPERATION * 60, each, Duration::ZERO);
            let answered: Vec<usize> =
                model.connections.iter().map(|connection| connection.answered).collect();
            let (total, least) = (answered.iter().sum::<usize>(), *answered.iter().min().unwrap());
            assert!(
                each * u32::try_from(total).unwrap() > OPERATION * 50,
                "{count} × {each:?}: {answered:?}"
            );
            assert!(least * count * 4 > total, "{count} × {each:?}: {answered:?}");
        }
    }
}

#[test]
fn commands_that_become_slow_are_sent_in_smaller_numbers() {
    let mut model = one(1_000, micros(100));
    (0..20).for_each(|_| model.round(micros(2), Duration::ZERO));
    model.run_for(OPERATION * 10, micros(6_000), Duration::ZERO);
    model.longest = Duration::ZERO;
    model.run_for(OPERATION * 10, micros(6_000), Duration::ZERO);
    assert!(model.longest < OPERATION, "{:?}", model.longest);
    // and grow again
    model.run_for(OPERATION, micros(2), Duration::ZERO);
    assert!(model.commands() >= 1_000, "{}", model.commands());
}

#[test]
fn a_node_that_is_far_away_is_not_taken_for_a_slow_one() {
    for away in [micros(50_000), micros(300_000), micros(480_000)] {
        let mut model = one(4096, away);
        model.read = 4096;
        model.connections[0].window = Window::new(model.now, PATIENCE, away);
        (0..20).for_each(|_| model.round(micros(2), Duration::ZERO));
        assert!(model.commands() >= 4096, "{away:?}: {}", model.commands());
        assert!(!model.connections[0].window.is_slow());
    }
}

#[test]
fn delay_that_a_connection_does_not_cause_leaves_it_what_it_has() {
    for delay in [micros(260_000), micros(500_000), micros(700_000)] {
        let mut model = one(160, micros(100));
        (0..20).for_each(|_| model.round(micros(10), Duration::ZERO));
        let before = model.commands();
        model.run_for(OPERATION * 60, micros(10), delay);
        let after = model.commands();
        assert!(after >= before.min(160) / 4, "{delay:?}: {before} before, {after} after");
    }
}

#[test]
fn a_standstill_of_this_process_says_nothing() {
    let now = Instant::now();
    let mut window = Window::new(now, PATIENCE, Duration::ZERO);
    window.look(Duration::ZERO, now);
    window.begin(4, 40, now);
    window.answered(u64::MAX, now + Duration::from_secs(5));
    assert_eq!((window.commands, window.is_slow()), (FIRST_COMMANDS, false));
    window.begin(4, 40, now);
    window.forgive(now + Duration::from_secs(5));
    window.answered(u64::MAX, now + Duration::from_secs(5));
    assert_eq!((window.commands, window.since()), (FIRST_COMMANDS, now + Duration::from_secs(5)));
}

#[test]
fn what_is_held_back_is_measured_at_once_and_the_rest_when_somebody_looks() {
    let now = Instant::now();
    let mut window = Window::new(now, PATIENCE, Duration::ZERO);
    window.hold_back(false);
    assert!(!window.is_due());
    window.look(Duration::ZERO, now);
    assert!(window.is_due());
    window.begin(1, 10, now);
    window.hold_back(true);
    assert!(!window.is_due());
    window.answered(10, now);
    assert!(window.is_due(), "and again with the next write");
}

#[test]
fn behind_a_silence_nothing_is_sent_until_the_node_says_a_word() {
    let now = Instant::now();
    let mut window = Window::new(now, PATIENCE, micros(100));
    window.look(PATIENCE, now);
    assert_eq!(window.allowed(), FIRST_COMMANDS);
    window.look(PATIENCE + micros(101), now);
    assert_eq!(window.allowed(), 0);
    window.answered(0, now);
    assert_eq!(window.allowed(), FIRST_COMMANDS);
}

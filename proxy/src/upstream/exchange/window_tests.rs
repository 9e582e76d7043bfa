use super::*;

const PATIENCE: Duration = Duration::from_millis(250);

/// A node that takes `each` for one command and is `away` from here, sent as much as it may be.
struct Node {
    window: Window,
    now: Instant,
    end: u64,
    /// Round after round.
    took: Vec<Duration>,
}

impl Node {
    fn new() -> Self {
        let now = Instant::now();
        Self { window: Window::new(now, PATIENCE), now, end: 0, took: Vec::new() }
    }

    /// One round with `waiting` commands, more than may be sent or fewer.
    fn round(&mut self, waiting: usize, each: Duration, away: Duration) {
        let sent = waiting.min(self.window.allowed());
        self.window.hold_back(sent < waiting);
        self.end += sent as u64;
        self.window.look(Duration::ZERO);
        assert!(self.window.is_due());
        self.window.begin(sent, self.end, self.now);
        // replies to some are no end of the round
        self.window.answered(self.end - 1, self.now);
        assert!(self.window.round.is_some());
        let took = away + each * u32::try_from(sent).unwrap();
        self.now += took;
        self.took.push(took);
        self.window.answered(u64::MAX, self.now);
    }

    fn rounds(&mut self, count: usize, waiting: usize, each: Duration, away: Duration) -> usize {
        (0..count).for_each(|_| self.round(waiting, each, away));
        self.window.allowed()
    }
}

const fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

#[test]
fn a_node_that_answers_at_once_is_soon_sent_all_there_is() {
    let mut node = Node::new();
    assert!(node.rounds(6, 1024, micros(2), micros(100)) >= 1024);
    // and no more than it needs is let through for it
    let before = node.window.allowed();
    assert_eq!(node.rounds(100, 1024, micros(2), micros(100)), before);
    let most = node.rounds(100, usize::MAX >> 1, Duration::ZERO, micros(100));
    assert_eq!(most, MOST_COMMANDS);
}

#[test]
fn a_slow_node_is_never_silent_for_twice_its_patience_and_never_without_work() {
    for each in [micros(300), micros(1_300), micros(6_000), micros(12_000), micros(60_000), micros(150_000)] {
        let mut node = Node::new();
        let commands = node.rounds(200, 100_000, each, micros(100));
        let longest = *node.took.iter().max().unwrap();
        assert!(longest < 3 * PATIENCE, "{each:?}: {longest:?}");
        let last = node.took[150..].iter().max().unwrap();
        assert!(*last <= 2 * PATIENCE + each, "{each:?}: {last:?}");
        assert!(commands as u32 * each >= PATIENCE / 4, "{each:?}: {commands}");
    }
}

#[test]
fn commands_that_become_slow_are_sent_in_smaller_numbers() {
    let mut node = Node::new();
    node.rounds(20, 100_000, micros(2), micros(100));
    node.round(1_000, micros(6_000), micros(100));
    node.round(1_000, micros(6_000), micros(100));
    assert!(node.took.last().unwrap() <= &(PATIENCE * 2), "{:?}", node.took.last());
    // and grow again
    assert!(node.rounds(20, 100_000, micros(2), micros(100)) > 10_000);
}

#[test]
fn a_node_that_is_far_away_is_not_taken_for_a_slow_one() {
    let mut node = Node::new();
    assert!(node.rounds(10, 4096, micros(2), Duration::from_millis(300)) >= 4096);
}

#[test]
fn a_standstill_of_this_process_says_nothing() {
    let mut node = Node::new();
    let commands = node.rounds(10, 4096, micros(2), micros(100));
    node.window.begin(10, node.end + 10, node.now);
    node.now += Duration::from_secs(5);
    node.window.forgive(node.now);
    node.window.answered(u64::MAX, node.now);
    assert_eq!((node.window.allowed(), node.window.since()), (commands, node.now));
}

#[test]
fn what_is_held_back_is_measured_at_once_and_the_rest_when_somebody_looks() {
    let now = Instant::now();
    let mut window = Window::new(now, PATIENCE);
    window.hold_back(false);
    assert!(!window.is_due());
    window.look(Duration::ZERO);
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
    let mut window = Window::new(now, PATIENCE);
    window.look(PATIENCE);
    assert_eq!(window.allowed(), 1);
    window.look(PATIENCE + micros(1));
    assert_eq!(window.allowed(), 0);
    window.answered(0, now);
    assert_eq!(window.allowed(), 1);
}

//! Who counts as a follower, and for how long.

use std::sync::Arc;

use super::*;

const NAME: &str = "a";

fn report(instance: &str, serves: u64, settled: bool) -> FollowerReport {
    FollowerReport { instance: instance.to_owned(), serves, settled, ..FollowerReport::default() }
}

fn followers() -> Followers {
    let followers = Followers::default();
    followers.remember(Vec::new(), |_| Ok(()));
    followers
}

fn awaited(followers: &Followers, epoch: u64) -> Option<String> {
    followers.awaited(epoch).map(|(name, _)| name)
}

/// As who speaks with followers does.
fn say(followers: &Followers, report: FollowerReport, now: Instant) -> Result<(), FollowerRefused> {
    if followers.heard(NAME, &report, now) { Ok(()) } else { followers.register(NAME, report, now) }
}

#[test]
fn who_was_heard_of_counts_until_it_leaves() {
    let (followers, now) = (followers(), Instant::now());
    say(&followers, report("1", 1, true), now).unwrap();
    assert_eq!(followers.trouble(now), None);
    assert_eq!(followers.leaves(NAME, None, now), Ok(Forgotten::Lives), "an operator is wrong about it");
    followers.lost("1");
    assert!(followers.trouble(now).unwrap().contains("was lost"));
    say(&followers, report("1", 1, true), now).unwrap();
    assert_eq!(followers.trouble(now), None);
    let after = now + FOLLOWER_SILENCE + Duration::from_secs(1);
    assert!(followers.trouble(after).unwrap().contains("'a'"));
    assert_eq!(awaited(&followers, 1), None, "it serves by that topology, though it is silent");
    assert_eq!(awaited(&followers, 2).as_deref(), Some(NAME));
    assert_eq!(followers.leaves(NAME, Some("2"), after), Ok(Forgotten::Unknown));
    assert_eq!(followers.leaves(NAME, Some("1"), after), Ok(Forgotten::Yes));
    assert_eq!((followers.trouble(after), awaited(&followers, 2)), (None, None));
    assert_eq!(
        say(&followers, report("1", 1, true), after),
        Err(FollowerRefused::HasLeft),
        "it was on its way"
    );
}

#[test]
fn processes_of_one_name_count_each_until_one_knows_that_the_other_is_dead() {
    let (followers, now) = (followers(), Instant::now());
    let count = |now| followers.all_of_them(now).len();
    say(&followers, report("1", 1, true), now).unwrap();
    say(&followers, report("2", 1, true), now).unwrap();
    assert_eq!(count(now), 2);
    let after = now + FOLLOWER_SILENCE + Duration::from_secs(1);
    say(&followers, report("2", 1, true), after).unwrap();
    say(&followers, report("3", 1, true), after).unwrap();
    assert_eq!(count(after), 3, "the first is silent, which proves nothing");
    let replaces = vec!["1".to_owned(), "3".to_owned()];
    say(&followers, FollowerReport { replaces, ..report("2", 1, true) }, after).unwrap();
    assert_eq!((count(after), followers.trouble(after)), (1, None));
    let much_after = after + FOLLOWER_SILENCE + Duration::from_secs(1);
    say(&followers, report("4", 1, true), much_after).unwrap();
    assert_eq!(followers.leaves(NAME, None, much_after), Ok(Forgotten::Yes));
    assert_eq!(count(much_after), 1, "the one that lives stays");
}

#[test]
fn they_are_kept_and_counted_after_a_restart() {
    let (kept, now) = (Arc::new(Mutex::new(Vec::new())), Instant::now());
    let keep = || {
        let kept = Arc::clone(&kept);
        move |known: &[KnownFollower]| {
            *kept.lock().unwrap() = known.to_vec();
            Ok(())
        }
    };
    let (followers, known) = (Followers::default(), |kept: &Mutex<Vec<_>>| kept.lock().unwrap().clone());
    followers.remember(Vec::new(), keep());
    followers.register("b", report("1", 1, true), now).unwrap();
    followers.register("a", report("2", 1, true), now).unwrap();
    let (a, b) = (|instance: &str| ("a".to_owned(), instance.to_owned()), ("b".to_owned(), "1".to_owned()));
    let pairs =
        |known: Vec<KnownFollower>| known.into_iter().map(|one| (one.name, one.instance)).collect::<Vec<_>>();
    assert_eq!(pairs(known(&kept)), [a("2"), b]);
    followers.leaves("b", Some("1"), now).unwrap();
    let again = Followers::default();
    again.remember(known(&kept), keep());
    assert!(again.trouble(now).unwrap().contains("since the start"));
    let replaces = vec!["2".to_owned()];
    again.register("a", FollowerReport { replaces, ..report("3", 0, false) }, now).unwrap();
    assert_eq!((again.trouble(now), awaited(&again, 1).as_deref()), (None, Some("a")));
    assert_eq!(pairs(known(&kept)), [a("3")]);
    // what was forgotten by another process meanwhile does not come back
    again.remember(Vec::new(), keep());
    assert_eq!(again.all_of_them(now).len(), 1, "it was heard of");
}

#[test]
fn they_are_bounded_and_none_counts_that_cannot_be_kept() {
    let (followers, now) = (followers(), Instant::now());
    for at in 0..FOLLOWERS {
        say(&followers, report(&format!("{at}"), 1, true), now).unwrap();
    }
    assert_eq!(say(&followers, report("more", 1, true), now), Err(FollowerRefused::TooMany));
    for at in 0..FOLLOWERS {
        followers.leaves(NAME, Some(&format!("{at}")), now).unwrap();
    }
    assert!(followers.all().left.len() <= FOLLOWERS_LEFT);
    let followers = Followers::default();
    let refused = say(&followers, report("1", 1, true), now).unwrap_err().to_string();
    assert!(refused.contains("topology_file"), "{refused}");
    followers.remember(Vec::new(), |_| Err("a full disk".to_owned()));
    let refused = say(&followers, report("1", 1, true), now).unwrap_err();
    assert!(refused.to_string().contains("a full disk") && followers.all_of_them(now).is_empty());
}

#[test]
fn what_was_given_up_is_known_until_the_same_process_says_otherwise() {
    let (followers, now) = (followers(), Instant::now());
    let lost = |id| vec![Abandoned { address: "h:1".into(), id, end: "h:9".into(), socket: None }];
    let by = |run: &str, settled, given_up| FollowerReport {
        run: run.to_owned(),
        given_up,
        ..report("1", 1, settled)
    };
    let known = || {
        let all = followers.all();
        let left = all.left.iter().flat_map(|left| left.given_up.clone());
        all.count.iter().flat_map(|one| one.report.given_up.clone()).chain(left).collect::<Vec<_>>()
    };
    say(&followers, by("a", true, lost(1)), now).unwrap();
    say(&followers, by("a", false, Vec::new()), now).unwrap();
    assert_eq!(known(), lost(1), "it has not settled by another topology yet");
    // another process takes its place
    say(&followers, by("b", true, lost(2)), now).unwrap();
    assert_eq!(known(), [lost(2), lost(1)].concat());
    say(&followers, by("b", true, Vec::new()), now).unwrap();
    assert_eq!(known(), lost(1));
    followers.close();
    assert!(followers.leaves(NAME, Some("1"), now).is_err());
    assert!(followers.register(NAME, report("2", 1, true), now).is_err());
}

#[tokio::test]
async fn a_movement_waits_for_all_and_hears_what_they_have_given_up() {
    let (followers, now) = (followers(), Instant::now());
    assert!(followers.settled(2).await.is_empty());
    say(&followers, report("1", 1, true), now).unwrap();
    say(&followers, report("2", 2, true), now).unwrap();
    let given_up = |id| Abandoned { address: "h:1".into(), id, end: "h:9".into(), socket: None };
    let gone = FollowerReport { given_up: vec![given_up(8)], ..report("3", 1, true) };
    say(&followers, gone, now).unwrap();
    let tell = async {
        tokio::task::yield_now().await;
        say(&followers, report("1", 2, false), now).unwrap();
        tokio::task::yield_now().await;
        let report = FollowerReport { given_up: vec![given_up(7)], ..report("1", 2, true) };
        say(&followers, report, now).unwrap();
        tokio::task::yield_now().await;
        followers.leaves(NAME, Some("3"), now).unwrap();
    };
    let (heard, ()) = tokio::join!(followers.settled(2), tell);
    assert_eq!(heard, [given_up(7), given_up(8)]);
}

#[test]
fn who_says_something_while_it_is_forgotten_is_kept() {
    let (followers, kept, now) =
        (Arc::new(Followers::default()), Arc::new(Mutex::new(Vec::new())), Instant::now());
    let after = now + FOLLOWER_SILENCE + Duration::from_secs(1);
    let (weak, seen) = (Arc::downgrade(&followers), Arc::clone(&kept));
    followers.remember(Vec::new(), move |known| {
        let mut seen = seen.lock().unwrap();
        // at the moment in which it is taken off the list
        if let Some(followers) = weak.upgrade().filter(|_| known.is_empty()) {
            followers.heard(NAME, &report("1", 1, true), after);
        }
        *seen = known.to_vec();
        Ok(())
    });
    say(&followers, report("1", 1, true), now).unwrap();
    followers.leaves(NAME, None, after).unwrap();
    assert_eq!(followers.all_of_them(after).len(), 1, "it lives");
    assert_eq!(kept.lock().unwrap().len(), 1, "and counts after a restart as well");
}

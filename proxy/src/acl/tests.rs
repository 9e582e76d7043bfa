//! Rules, what follows from them, and what is told of them.

use crate::command;
use crate::command::Command;
use crate::resp::request::{RequestBounds, RequestScanner};
use crate::resp::{Args, Span, encode};
use crate::settings::Secret;

use super::*;

fn user(rules: &str) -> User {
    let rules: Vec<&[u8]> = rules.split(' ').map(str::as_bytes).collect();
    let users = Users::open(None).with(b"u", &rules);
    User::clone(users.map_err(|text| String::from_utf8(text).unwrap()).unwrap().get(b"u").unwrap())
}

fn refused(rules: &str) -> String {
    let rules: Vec<&[u8]> = rules.split(' ').map(str::as_bytes).collect();
    String::from_utf8(Users::open(None).with(b"u", &rules).unwrap_err()).unwrap()
}

/// Judges a typed request.
fn judge(user: &User, request: &str) -> Result<(), String> {
    let words: Vec<&str> = request.split(' ').collect();
    let (mut frame, mut spans): (Vec<u8>, Vec<Span>) = (Vec::new(), Vec::new());
    encode::request(&mut frame, &words);
    let bounds = RequestBounds { authenticated: true, command_bytes: usize::MAX };
    RequestScanner::default().scan(&frame, bounds, &mut spans).unwrap();
    let args = Args::new(&frame, &spans);
    let command: &'static Command = command::resolve(&args).unwrap();
    user.may(command, &args, &mut Vec::new()).map_err(|denied| {
        String::from_utf8(denied.object(&args).to_vec()).unwrap() + ": " + &denied.text(&args)
    })
}

#[test]
fn a_new_user_may_nothing_and_the_default_one_everything() {
    let users = Users::open(None);
    assert!(users.lets_everybody_in());
    assert!(users.let_in(DEFAULT, b"anything").is_some() && users.let_in(b"nobody", b"").is_none());
    let nobody = user("on");
    assert!(
        judge(&nobody, "GET a").unwrap_err().starts_with("get: NOPERM this user has no permissions to run")
    );
    assert!(judge(&nobody, "AUTH a b").is_ok() && judge(&nobody, "RESET").is_ok());
    let default = users.get(DEFAULT).unwrap();
    assert!(default.is_unlimited() && judge(default, "FLUSHALL").is_ok());
    assert_eq!(default.line(), b"user default on nopass ~* &* +@all");
}

#[test]
fn the_last_rule_about_a_command_decides() {
    let one = user("+@all -@dangerous +keys -config +config|get -select +select|0 ~*");
    for (request, is_let) in [
        ("GET a", true),
        ("FLUSHALL", false),
        ("KEYS *", true),
        ("CONFIG GET a", true),
        ("CONFIG SET a b", false),
        ("SELECT 0", true),
        ("SELECT 1", false),
    ] {
        assert_eq!(judge(&one, request).is_ok(), is_let, "{request}");
    }
    let text = "+@all -@dangerous +keys -config +config|get -select +select|0";
    assert_eq!(one.rights().next().unwrap()[0].1, text.as_bytes());
    // what a later rule says again is not kept twice
    let again = user("+@read -@read +get -get +get +config|get -config +@read");
    assert_eq!(again.rights().next().unwrap()[0].1, b"-@all +get +@read");
    for rules in ["+get +@all", "+@all +get", "+@all -get +get", "+@all +config +config|get"] {
        assert_eq!(user(rules).rights().next().unwrap()[0].1, b"+@all", "{rules}");
    }
    assert_eq!(user("-@all -get").rights().next().unwrap()[0].1, b"-@all");
}

#[test]
fn keys_are_judged_by_what_happens_to_them() {
    let one = user("+@all ~both:* %R~in:* %W~out:*");
    for (request, is_let) in [
        ("GET both:1", true),
        ("GET in:1", true),
        ("GET out:1", false),
        ("SET out:1 v", true),
        ("SET out:1 v GET", false),
        ("SET out:1 v get\0", false),
        ("SET out:1 v get\0zzz", false),
        ("SET in:1 v", false),
        ("COPY in:1 out:1", true),
        ("COPY out:1 in:1", false),
        ("SUNIONSTORE out:1 in:1 both:1", true),
        ("MGET in:1 other", false),
        ("BITFIELD in:1 GET u8 0", true),
        ("BITFIELD in:1 SET u8 0 1", false),
        ("XREAD STREAMS in:1 in:2 0 0", true),
        ("XREAD STREAMS in:1 x 0 0", false),
        ("PING", true),
        ("RANDOMKEY", true),
        ("SORT in:1", true),
        ("SORT in:1 STORE out:1", true),
        ("SORT in:1 BY nosort", true),
        ("SORT in:1 BY w_*", false),
        ("SORT in:1 BY nosort GET w_*", false),
    ] {
        assert_eq!(judge(&one, request).is_ok(), is_let, "{request}");
    }
    assert!(
        judge(&one, "MGET in:1 other")
            .unwrap_err()
            .starts_with("other: NOPERM this user has no permissions to access one of the keys")
    );
    // ranges are those of Redis, which compares signed bytes
    let bytes = Users::open(None).with(b"u", &[b"+get", b"~[a-\xff]"]).unwrap();
    assert!(
        judge(bytes.get(b"u").unwrap(), "GET A").is_ok() && judge(bytes.get(b"u").unwrap(), "GET b").is_err()
    );
    assert_eq!(user("%RW~a ~a %r~b %W~b").rights().next().unwrap()[1].1, b"~a ~b");
    assert!(judge(&user("+sort %R~* %W~out"), "SORT in BY w_* STORE out").is_ok());
}

#[test]
fn channels_are_judged_and_patterns_of_channels_stand_in_the_rules() {
    let one = user("+@all &news:* &exact");
    for (request, is_let) in [
        ("SUBSCRIBE news:1 exact", true),
        ("SUBSCRIBE news:1 other", false),
        ("PSUBSCRIBE news:*", true),
        ("PSUBSCRIBE news:1*", false),
        ("PUBLISH news:1 x", true),
        ("SPUBLISH other x", false),
        ("SSUBSCRIBE exact", true),
        ("UNSUBSCRIBE other", true),
    ] {
        assert_eq!(judge(&one, request).is_ok(), is_let, "{request}");
    }
}

#[test]
fn what_one_selector_allows_is_allowed_and_the_nearest_denial_is_told() {
    let one = user("+get ~a:* (+set ~b:* &c) (+@read ~c:*)");
    for (request, is_let) in [
        ("GET a:1", true),
        ("SET b:1 v", true),
        ("GET b:1", false),
        ("SET a:1 v", false),
        ("STRLEN c:1", true),
        ("GET c:1", true),
    ] {
        assert_eq!(judge(&one, request).is_ok(), is_let, "{request}");
    }
    assert!(judge(&one, "SET a:1 v").unwrap_err().starts_with("a:1: "));
    assert!(judge(&one, "DEL a:1").unwrap_err().starts_with("del: "));
    let line = "user u off ~a:* resetchannels -@all +get (~b:* resetchannels &c -@all +set) (~c:* resetchannels -@all +@read)";
    assert_eq!(String::from_utf8(one.line()).unwrap(), line);
    // spread over several words, as a shell does it
    assert_eq!(user("+get ~a:* ( +set ~b:* &c ) (+@read ~c:*)"), one);
}

#[test]
fn scripts_are_for_those_without_limits_and_those_whom_a_rule_allows_them() {
    for (rules, is_let) in [
        ("+@all ~* &*", true),
        ("+@all ~*", false),
        ("+@all ~* &* -@dangerous", false),
        ("+@all ~a:* &* +eval", true),
        ("+@scripting ~*", false),
        ("+@all ~* +eval -eval", false),
        ("~a:* +eval -@scripting", false),
        ("~a:* +eval -@scripting +@slow", false),
        ("~a:* +eval -@scripting +@slow +eval", true),
        ("+@all ~* &* +get", true),
        ("+@all ~* &* -get +get", true),
        ("+@all ~* &* +eval", true),
    ] {
        assert_eq!(judge(&user(rules), "EVAL s 1 a:1").is_ok(), is_let, "{rules}");
    }
    let denied = judge(&user("+@all ~a:*"), "EVAL s 1 a:1").unwrap_err();
    assert!(
        denied
            .starts_with("eval: NOPERM this user has no permissions to run the 'eval' command: at its node")
    );
    // the keys that it names are judged all the same
    assert!(judge(&user("+@all ~a:* +eval"), "EVAL s 1 b:1").unwrap_err().starts_with("b:1: "));
    assert!(judge(&user("+@all ~a:*"), "SCRIPT EXISTS x").is_ok());
}

#[test]
fn rules_that_are_none_are_refused_in_redis_words() {
    for (rules, text) in [
        ("+gte", "'+gte': Unknown command or category name in ACL"),
        ("-@nothing", "'-@nothing': Unknown command or category name in ACL"),
        ("-select|0", "'-select|0': Unknown command or category name in ACL"),
        ("+config|nothing", "'+config|nothing': Unknown command or category name in ACL"),
        ("+client|kill|id", "'+client|kill|id': Allowing first-arg of a subcommand is not supported"),
        ("+select|", "'+select|': Syntax error"),
        ("nonsense", "'nonsense': Syntax error"),
        ("%X~a", "'%X~a': Syntax error"),
        ("%RR~a", "'%RR~a': Syntax error"),
        ("%~a", "'%~a': Syntax error"),
        ("~* ~a", "Try 'resetkeys' to start with an empty list of patterns"),
        ("&* &a", "Try 'resetchannels' to start with an empty list of channels"),
        ("<none", "does not exist"),
        ("#abc", "exactly 64 characters"),
        ("(+get", "ERR Unmatched parenthesis in acl selector starting at '(+get'."),
        ("(on)", "'(on)': Syntax error"),
    ] {
        assert!(refused(rules).contains(text), "{rules}: {}", refused(rules));
    }
    assert_eq!(
        Users::open(None).with(b"a b", &[]).unwrap_err(),
        b"ERR Usernames can't contain spaces or null characters"
    );
    // all of a change or nothing
    assert!(Users::open(None).with(b"u", &[b"on", b"nonsense"]).is_err());
}

#[test]
fn commands_that_only_nodes_know_can_be_named() {
    let one = user("+json.get +json.set|x");
    assert_eq!(one.rights().next().unwrap()[0].1, b"-@all +json.get +json.set|x");
    assert!(refused("+learned").contains("Unknown command"));
}

#[test]
fn passwords_are_kept_as_hashes_and_can_be_exchanged() {
    let users = Users::open(Some(&Secret::new("old")));
    assert!(!users.lets_everybody_in() && users.let_in(DEFAULT, b"old").is_some());
    let both = users.with(DEFAULT, &[b">new"]).unwrap();
    assert!(both.let_in(DEFAULT, b"old").is_some() && both.let_in(DEFAULT, b"new").is_some());
    let new = both.with(DEFAULT, &[b"<old"]).unwrap();
    assert!(new.let_in(DEFAULT, b"old").is_none() && new.let_in(DEFAULT, b"new").is_some());
    let hash = "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437";
    assert_eq!(new.get(DEFAULT).unwrap().passwords().collect::<Vec<_>>(), [hash]);
    assert!(!format!("{new:?} {:?}", new.get(DEFAULT)).contains(&hash[..8]));
    let off = new.with(DEFAULT, &[b"off"]).unwrap();
    assert!(off.let_in(DEFAULT, b"new").is_none() && off.at_first().is_none());
    assert!(off.with(DEFAULT, &[b"reset", b"on", b"nopass"]).unwrap().lets_everybody_in());
}

#[test]
fn what_is_told_is_read_again() {
    let rules = [
        "on >a >b ~a:* %R~b &c -@all +@read -get +select|0 +json.get (+set %W~x &y) (~* +@all)",
        "off nopass skip-sanitize-payload ~* &* +@all -@dangerous +config|get",
        "on",
    ];
    let mut users = Users::open(None);
    for (at, rules) in rules.iter().enumerate() {
        let rules: Vec<&[u8]> = rules.split(' ').map(str::as_bytes).collect();
        users = users.with(format!("u{at}").as_bytes(), &rules).unwrap();
    }
    let text = users.to_file(None).unwrap();
    assert_eq!(Users::read(&text, None).unwrap(), users, "{text}");
    assert_eq!(users.without([&b"u0"[..], b"nobody"].into_iter()).1, 1);
}

#[test]
fn a_file_that_would_not_say_the_same_is_not_written() {
    let with = |users: &Users, name: &[u8], rule: &[u8]| users.with(name, &[rule]).unwrap();
    let users = Users::open(None);
    for (users, password, why) in [
        (with(&users, b"u", b"~\xff*"), None, "UTF-8"),
        (with(&users, b"\xff", b"on"), None, "UTF-8"),
        (with(&users, b"u", b"(~a) +get)"), None, "'+get)': Unknown"),
        (
            with(&Users::open(Some(&Secret::new("a"))), DEFAULT, b">b"),
            Some(Secret::new("a")),
            "auth.password",
        ),
    ] {
        let refusal = users.to_file(password.as_ref()).unwrap_err();
        assert!(refusal.contains(why), "{refusal}");
    }
    assert!(Users::read("", None).is_err() && Users::read("# nobody\n", None).is_err());
    assert!(!Users::read("", Some(&Secret::new("a"))).unwrap().lets_everybody_in());
}

/// What takes a whole key or pattern for each key or pattern would take minutes here.
#[test]
fn long_requests_are_judged_in_one_go() {
    let one = user("+@all ~a");
    let sort = format!("SORT a{}", " GET x*".repeat(100_000));
    assert!(judge(&one, &sort).unwrap_err().starts_with("x*: "));
    let mget = format!("MGET{}", " a".repeat(300_000));
    assert!(judge(&one, &mget).is_ok());
    let rules: String = (0..1000).map(|at| format!(" +get|{at}")).collect();
    assert!(judge(&user(&format!("~a{rules}")), "GET a").is_err());
    assert!(refused(&format!("~a{rules} +get|x")).ends_with("1000 rules of this kind already"));
}

#[test]
fn i6_what_clients_say_of_users_is_bounded() {
    let long = format!("~{}", "k".repeat(1 << 20));
    let mut users = Users::open(None);
    let made = (0..100).take_while(|at| {
        let name = format!("u{at}");
        let next = users.with(name.as_bytes(), &[long.as_bytes()]);
        next.map(|next| users = next).is_ok()
    });
    assert_eq!(made.count(), 7);
    let log = DeniedLog::default();
    for at in 0..1000 {
        let object = format!("{at}{}", "k".repeat(5000));
        let about = (Reason::Key, Context::TopLevel);
        log.add(Entry::new(about, object.as_bytes(), b"u", String::new()));
        log.add(Entry::new(about, object.as_bytes(), b"u", String::new()));
    }
    let entries = log.newest(usize::MAX);
    assert_eq!(entries.len(), 128);
    assert!(entries.iter().all(|entry| entry.object.len() == 1024 && entry.count == 2));
    log.reset();
    assert!(log.newest(10).is_empty());
}

proptest::proptest! {
    /// Whatever stands in a file of users, it is read or refused, and what was read is told so that it is read again.
    #[test]
    fn any_text_is_read_or_refused(
        text in r"(user|#|usr)?( ?(a|default|\PC{0,8}))( (\+|-|~|%R~|&|>|#|<|!|\(|on|@|\+@|allkeys|reset|get|config\|get|select\|0|all|\)|\*|\PC{0,6}){1,3}){0,12}\n?",
    ) {
        let text = text.repeat(2) + "\nuser default off";
        match Users::read(&text, None) {
            Ok(users) => {
                let again = users.to_file(None).unwrap();
                proptest::prop_assert_eq!(Users::read(&again, None).unwrap(), users);
            }
            Err(problems) => proptest::prop_assert!(!problems.is_empty()),
        }
    }

    /// Rules in any order: what is told of a user is that user.
    #[test]
    fn any_user_is_what_is_told_of_it(
        rules in proptest::collection::vec(
            r"(on|off|nopass|resetpass|reset|>[a-c]|<[a-c]|allkeys|resetkeys|~[a-c*]|%[RW]~[a-c]|&[a-c*]|resetchannels|[+-](get|set|config|config\|get|client\|id|@read|@slow|@all)|\+select\|[01]|\((\+get|~a)( (-@all|~b|\+@write|&c)){0,2}\)|clearselectors)",
            0..12,
        ),
    ) {
        let rules: Vec<&[u8]> = rules.iter().map(|rule| rule.as_bytes()).collect();
        if let Ok(users) = Users::open(None).with(b"u", &rules) {
            let text = users.to_file(None).unwrap();
            proptest::prop_assert_eq!(Users::read(&text, None).unwrap(), users, "{}", text);
        }
    }
}

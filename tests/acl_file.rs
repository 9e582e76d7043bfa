//! The file of users: what is read at the start, by SIGHUP and by ACL LOAD, and what ACL SAVE writes.

use rustix::process::Signal;

use crate::support::frame::bulk;
use crate::support::program::{Files, Program, run};
use crate::support::{RawClient, RedisServer, wait_for};

fn set_user(client: &mut RawClient, rules: &str) {
    let words: Vec<&str> = ["ACL", "SETUSER"].into_iter().chain(rules.split(' ')).collect();
    assert_eq!(client.text(&words), "+OK\r\n", "{rules}");
}

fn config(server: &RedisServer, auth: &str) -> String {
    format!(
        "listen: 127.0.0.1:0\nadmin: {{listen: '127.0.0.1:0'}}\nnodes: [{{name: cache-1, address: '{}'}}]\nauth: {{{auth}}}\n\
         commands: {{allow: [acl|setuser, acl|save]}}\n",
        server.address()
    )
}

fn auth(program: &Program, user: &str, password: &str) -> String {
    program.client().text(&["AUTH", user, password])
}

#[test]
fn users_stand_in_a_file_that_is_read_again() {
    let server = RedisServer::start();
    let users = "user root on >root-word ~* &* +@all\nuser shop on >first-word ~shop:* +@all -@admin\nuser default off\n";
    let files =
        Files::new(&[("users.acl", users), ("ringway.yaml", &config(&server, "users_file: users.acl"))]);
    let program = Program::serve(&files.path("ringway.yaml"));
    assert!(program.client().text(&["GET", "k"]).starts_with("-NOAUTH"));
    let log_in = |user: &str, password: &str| {
        let mut client = program.client();
        assert_eq!(client.text(&["AUTH", user, password]), "+OK\r\n", "{user}");
        client
    };
    let (mut root, mut shop) = (log_in("root", "root-word"), log_in("shop", "first-word"));
    wait_for("the node", || shop.text(&["SET", "shop:1", "v"]) == "+OK\r\n");
    assert!(shop.text(&["SET", "other", "v"]).starts_with("-NOPERM"));
    // a password is exchanged while clients go on: both hold for a while
    let reload = |users: &str, until: &dyn Fn() -> bool| {
        files.write("users.acl", users);
        program.signal(Signal::HUP);
        wait_for("the file to be read again", until);
    };
    let both = users.replace(">first-word", ">first-word >second-word");
    reload(&both, &|| auth(&program, "shop", "second-word") == "+OK\r\n");
    program.wait_logged("users changed: shop");
    assert_eq!(auth(&program, "shop", "first-word"), "+OK\r\n");
    reload(&users.replace(">first-word", ">second-word"), &|| {
        auth(&program, "shop", "first-word").starts_with("-WRONGPASS")
    });
    assert_eq!(shop.call(&["GET", "shop:1"]), bulk(b"v"), "whoever is in stays");
    // a file with a mistake changes nothing, and its line is told
    files.write("users.acl", &users.replace("-@admin", "-@admn"));
    program.signal(Signal::HUP);
    program.wait_logged("users.acl:2: user shop, '-@admn': Unknown command or category name");
    assert!(root.text(&["ACL", "LOAD"]).contains("users.acl:2: user shop, '-@admn'"));
    assert_eq!(auth(&program, "shop", "second-word"), "+OK\r\n");
    // what clients change is there until the files say something else, and is kept when it is saved
    set_user(&mut root, "guest on >guest-word +get ~*");
    program.wait_logged("ACL SETUSER");
    files.write("users.acl", &users.replace(">first-word", ">second-word"));
    program.signal(Signal::HUP);
    program.wait_logged("users are as clients have changed them");
    assert_eq!(auth(&program, "guest", "guest-word"), "+OK\r\n");
    assert_eq!(root.text(&["ACL", "SAVE"]), "+OK\r\n");
    let saved = std::fs::read_to_string(files.path("users.acl")).expect("text");
    assert!(saved.contains("user guest on #") && !saved.contains("-word"), "{saved}");
    assert_eq!(root.text(&["ACL", "LOAD"]), "+OK\r\n");
    assert_eq!(auth(&program, "guest", "guest-word"), "+OK\r\n");
    // a user that stands there no more
    files.write("users.acl", "user root on >root-word ~* &* +@all\nuser default off\n");
    assert_eq!(root.text(&["ACL", "LOAD"]), "+OK\r\n");
    assert!(shop.rest().is_empty(), "closed with its user");
    let log = program.log();
    assert!(!log.contains("-word") && !log.contains("shop:1"), "{log}");
}

#[test]
fn a_password_in_the_configuration_is_exchanged_by_sighup() {
    let server = RedisServer::start();
    let files = Files::new(&[("ringway.yaml", &config(&server, "password: first-word"))]);
    let program = Program::serve(&files.path("ringway.yaml"));
    let mut client = program.client();
    assert_eq!(client.text(&["AUTH", "first-word"]), "+OK\r\n");
    files.write("ringway.yaml", &config(&server, "password: second-word"));
    program.signal(Signal::HUP);
    wait_for("the new password", || program.client().text(&["AUTH", "second-word"]) == "+OK\r\n");
    assert!(program.client().text(&["AUTH", "first-word"]).starts_with("-WRONGPASS"));
    assert!(client.text(&["PING"]).starts_with("+PONG"));
}

#[test]
fn what_was_read_or_saved_last_is_what_sighup_is_held_against() {
    let server = RedisServer::start();
    let users = "user root on >root-word ~* &* +@all\n";
    let yaml = |password: &str| config(&server, &format!("password: {password}, users_file: users.acl"));
    let files = Files::new(&[("users.acl", users), ("ringway.yaml", &yaml("first-word"))]);
    let program = Program::serve(&files.path("ringway.yaml"));
    let mut root = program.client();
    assert_eq!(root.text(&["AUTH", "root", "root-word"]), "+OK\r\n");
    let reload = |what: &str, until: &dyn Fn() -> bool| {
        program.signal(Signal::HUP);
        wait_for(what, until);
    };
    let is_let = |user: &str, password: &str| auth(&program, user, password) == "+OK\r\n";
    // read by ACL LOAD, then taken back
    files.write("users.acl", &format!("{users}user guest on >guest-word\n"));
    assert_eq!(root.text(&["ACL", "LOAD"]), "+OK\r\n");
    assert!(is_let("guest", "guest-word"));
    files.write("users.acl", users);
    reload("the guest to be gone", &|| !is_let("guest", "guest-word"));
    // written by ACL SAVE, then taken back
    set_user(&mut root, "guest on >guest-word");
    assert_eq!(root.text(&["ACL", "SAVE"]), "+OK\r\n");
    let saved = std::fs::read_to_string(files.path("users.acl")).expect("text");
    assert!(saved.contains("user guest") && !saved.contains("user default"), "{saved}");
    files.write("users.acl", users);
    reload("the guest to be gone", &|| !is_let("guest", "guest-word"));
    // the password of the configuration is not brought back by ACL LOAD, nor the old file
    files.write("ringway.yaml", &yaml("second-word"));
    reload("the new password", &|| is_let("default", "second-word"));
    assert_eq!(root.text(&["ACL", "LOAD"]), "+OK\r\n");
    assert!(is_let("default", "second-word") && !is_let("default", "first-word"));
    files.write("other.acl", &format!("{users}user other on >other-word\n"));
    files.write("ringway.yaml", &yaml("second-word").replace("users.acl", "other.acl"));
    reload("the other file", &|| is_let("other", "other-word"));
    assert_eq!(root.text(&["ACL", "LOAD"]), "+OK\r\n");
    assert!(is_let("other", "other-word"));
}

#[test]
fn check_names_each_line_of_the_file_of_users() {
    let server = RedisServer::start();
    let files = Files::new(&[
        ("users.acl", "user a on >some-word +gte\nusr b\n"),
        ("ringway.yaml", &config(&server, "users_file: users.acl")),
    ]);
    let check = || run(&["check", "--config", &files.arg("ringway.yaml")]);
    let output = check();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    for line in
        ["users.acl:1: user a, '+gte': Unknown command", "users.acl:2: does not begin with  user NAME"]
    {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.lines().all(|line| line.contains("ringway.yaml:4: auth.users_file: ")), "{text}");
    assert!(!text.contains("some-word"));
    files.write("users.acl", "user a on >some-word +get\n");
    assert!(String::from_utf8_lossy(&check().stderr).contains("users.acl:1: there is no user default"));
    files.write("users.acl", "user a on >some-word +get\nuser default off\n");
    let output = check();
    assert!(output.status.success() && output.stderr.is_empty());
    files.write(
        "users.acl",
        "user a on >some-word ~a +eval\nuser b on nopass\nuser c on +get\nuser default off\n",
    );
    let text = String::from_utf8_lossy(&check().stderr).into_owned();
    for warning in ["user a may run scripts", "user b needs no password", "user c is on and has no password"]
    {
        assert!(text.contains(warning), "{warning}: {text}");
    }
    std::fs::remove_file(files.path("users.acl")).expect("removed");
    assert!(String::from_utf8_lossy(&check().stderr).contains("users.acl: cannot be read"));
}

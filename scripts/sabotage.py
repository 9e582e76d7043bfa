#!/usr/bin/env python3
"""Plants one bug after the other into a copy of the sources and demands that a test catches each.

An oracle that stays silent then is worthless. Each bug is a small change of one file, so that the product itself
carries no hooks for it; a change that no longer fits the code is an error as well.

  sabotage.py            all bugs; exit code 1 when one is not caught
  sabotage.py NAME…      only these
  sabotage.py --list     what there is
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPY = ROOT / "target" / "sabotage"
#: How long a test may take to notice, in seconds; compiling is not counted.
PATIENCE = 300


@dataclass(frozen=True)
class Bug:
    """A change of one file, and the tests that must fail with it."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


CORE = ("test", "-p", "ringway-proxy", "--lib", "simulation")


def end_to_end(*names: str) -> tuple[str, ...]:
    return ("test", "--test", "e2e", "--", *names)


BUGS = (
    Bug(
        "replies leave in the order in which they come",
        "proxy/src/client/pipeline.rs",
        "if at == 0 && matches!(slot.state, State::Waiting | State::Leaving) {",
        "if matches!(slot.state, State::Waiting | State::Leaving) {",
        CORE,
    ),
    Bug(
        "a command that is written in part is taken back",
        "proxy/src/upstream/exchange/sending.rs",
        "if is_in_part || self.streaming || !",
        "if self.streaming || !",
        CORE,
    ),
    Bug(
        "a node that is slow is sent as much as one that is fast",
        "proxy/src/upstream/exchange/window.rs",
        "if more <= self.patience {",
        "if more <= self.patience.saturating_mul(100) {",
        ("test", "-p", "ringway-proxy", "--lib", "window"),
    ),
    Bug(
        "what TLS has taken and the kernel has not is told as written in whole",
        "proxy/src/net/tls/session.rs",
        "                    self.owes = true;\n                    taken -= 1;\n",
        "",
        ("test", "-p", "ringway-proxy", "--lib", "tls"),
    ),
    Bug(
        "what is owed goes before an alert and is never told",
        "proxy/src/net/tls/session.rs",
        "            if !self.owes {\n                let _ = self.flush(raw, SendFlags::NOSIGNAL);",
        "            if true {\n                let _ = self.flush(raw, SendFlags::NOSIGNAL);",
        ("test", "-p", "ringway-proxy", "--lib", "tls"),
    ),
    Bug(
        "a node whose certificate somebody else has signed is trusted",
        "proxy/src/net/tls/any_name.rs",
        """        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
""",
        """        let _ = verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        );
""",
        end_to_end("a_node_that_is_not_trusted"),
    ),
    Bug(
        "who has unsubscribed is counted until nodes have confirmed it",
        "proxy/src/client/hub.rs",
        "        self.tell_fewer(subject);\n",
        "",
        end_to_end("who_has_left_is_not_counted"),
    ),
    Bug(
        "a connection of a server is taken for one of the server before",
        "proxy/src/upstream/greeting.rs",
        "self.server == server",
        "self.server.is_some() == server.is_some()",
        end_to_end("a6_no_connection"),
    ),
    Bug(
        "a written command is told to be unsent",
        "proxy/src/upstream/exchange/lost.rs",
        "let fate = if front.was_sent(written) { Fate::Unknown } else { Fate::NotSent };",
        "let fate = Fate::NotSent;",
        CORE,
    ),
    Bug(
        "of a command that was written in part the rest is sent",
        "proxy/src/upstream/exchange/lost.rs",
        "again.iter().map(|entry| entry.start..entry.end)",
        "again.iter().map(|entry| if entry.end > written { written..entry.end } else { entry.start..entry.end })",
        CORE,
    ),
    Bug(
        "writes are sent again as reads are",
        "proxy/src/upstream/exchange/lost.rs",
        "self.asked.as_ref().is_some_and(|asked| asked.command.may_repeat())",
        "self.asked.is_some()",
        CORE,
    ),
    Bug(
        "a read is sent again and again",
        "proxy/src/upstream/exchange/lost.rs",
        "&& !front.is_repeated()\n",
        "\n",
        ("test", "-p", "ringway-proxy", "--lib", "i3_a_read_goes_once_more"),
    ),
    Bug(
        "a read goes again beside an unknown write of its client",
        "proxy/src/upstream/exchange/lost.rs",
        "&& !front.asker().is_some_and(|asker| doubtful.contains(&asker))\n",
        "\n",
        CORE,
    ),
    Bug(
        "a reply that nobody awaits is given to the next who asks",
        "proxy/src/upstream/exchange.rs",
        "if front.end > written && !front.awaits_early_reply(written) {",
        "if false && front.end > written {",
        ("test", "-p", "ringway-proxy", "--lib", "exchange"),
    ),
    Bug(
        "some writes are sent twice",
        "proxy/src/client/session.rs",
        "let number = inner.pipeline.wait(args.frame().len());",
        "if command.is_write() && args.frame().len() % 5 == 0 {\n"
        "                let twin = SlotRef { client: Rc::clone(client), number: u64::MAX / 2, part: 0 };\n"
        "                let _ = link.send(args.frame(), twin, command);\n"
        "            }\n"
        "            let number = inner.pipeline.wait(args.frame().len());",
        end_to_end("soak::a_few"),
    ),
    Bug(
        "the fence is left out",
        "proxy/src/upstream/greeting.rs",
        "(given_up.known.iter().map(|(_, identity)| identity.clone()).collect(), given_up.count)\n    }\n\n    /// Those that were given up since",
        "(given_up.known.iter().take(0).map(|(_, identity)| identity.clone()).collect(), given_up.count)\n    }\n\n    /// Those that were given up since",
        end_to_end("a4_"),
    ),
    Bug(
        "only a new connection brings the fence",
        "proxy/src/upstream/losing.rs",
        "!Rc::ptr_eq(link, self) && identity.is_known_to(link.server());",
        "Rc::ptr_eq(link, self) && identity.is_known_to(link.server());",
        end_to_end("a4_a_late_write"),
    ),
    Bug(
        "connections of one client alone do not say fences",
        "proxy/src/upstream/tracking.rs",
        "if self.fences.count() != self.fenced.get() {",
        "if false {",
        end_to_end("tracking::a4_"),
    ),
    Bug(
        "a message to a client that tracks overtakes replies",
        "proxy/src/client/pipeline.rs",
        "let is_before = |slot: &Slot| when == When::Last || !matches!(slot.state, State::Waiting);",
        "let is_before = |slot: &Slot| when == When::Last && !matches!(slot.state, State::Waiting);",
        end_to_end("tracking::i2_", "tracking_cache"),
    ),
    Bug(
        "keys that move are forgotten before the former node's last replies only",
        "proxy/src/client/tracking.rs",
        "client.told(FORGET_ALL, When::Now);\n        client.told(FORGET_ALL, When::Last);",
        "client.told(FORGET_ALL, When::Now);",
        end_to_end("tracking::i2_", "tracking_cache"),
    ),
    Bug(
        "nobody minds that the connection is lost on which a client of RESP2 hears of keys",
        "proxy/src/upstream/tracking.rs",
        "let is_gone = |ear: &Ear<T>| ear.link.id.get() != ear.named.get();",
        "let is_gone = |_: &Ear<T>| false;",
        end_to_end("tracking_redirect::whichever"),
    ),
    Bug(
        "a client that goes over to other connections does not wait",
        "proxy/src/client/session.rs",
        "        nothing_awaited\n    }",
        "        self.traffic.follow();\n        true\n    }",
        end_to_end("i2_a_large_command_waits"),
    ),
    Bug(
        "a missing line break behind an argument is overlooked",
        "proxy/src/resp/request.rs",
        "Some(_) => return Err(RequestError::ExpectedLineBreak),\n                None",
        "Some(_) => {}\n                None",
        end_to_end("d2_"),
    ),
    Bug(
        "a client that left keeps its descriptor",
        "proxy/src/client/mod.rs",
        "let _leave = Leave { client: &self, id };\n",
        "let _leave = Leave { client: &self, id };\n        std::mem::forget(Rc::clone(&self));\n",
        end_to_end("i9_"),
    ),
    Bug(
        "workers go on with the topology that they began with",
        "proxy/src/worker.rs",
        "if !current {\n            self.connect_nodes();",
        "if !current && self.clients.borrow().is_empty() {\n            self.connect_nodes();",
        end_to_end("topology::"),
    ),
    Bug(
        "a client goes over to new connections without waiting for the old",
        "proxy/src/client/session.rs",
        "self.set(Unusual::Barrier, !nothing_awaited);\n        if nothing_awaited {\n            self.epoch = epoch;\n            self.traffic.follow();\n        }\n        nothing_awaited",
        "self.epoch = epoch;\n        self.traffic.follow();\n        let _ = nothing_awaited;\n        true",
        end_to_end("attacks::"),
    ),
    Bug(
        "parts are joined in another order than that of the keys",
        "proxy/src/route/join.rs",
        "for part in &self.assignment {",
        "for part in self.assignment.iter().rev() {",
        CORE,
    ),
    Bug(
        "a stalled node is waited for",
        "proxy/src/upstream/link.rs",
        "if !self.exchange.borrow().is_stalled(now, limit) {",
        "if !self.exchange.borrow().is_stalled(now, limit * 1000) {",
        end_to_end("a3_a_stalled"),
    ),
    Bug(
        "a key on its way counts as arrived",
        "proxy/src/route/mod.rs",
        "Owner::Moving { to, .. } if scratch.arrived.has(topology, key) => Placed::Node(to),",
        "Owner::Moving { to, .. } => Placed::Node(to),",
        end_to_end("moving::f1_a_node_joins"),
    ),
    Bug(
        "keys are carried before what was sent by the topology before is answered",
        "proxy/src/worker.rs",
        "            if !awaits {\n                let fences",
        "            if !awaits || true {\n                let fences",
        end_to_end("moving_faults::i3_nothing_is_carried"),
    ),
    Bug(
        "keys are called back by the rule for keys that set out",
        "proxy/src/control/moving.rs",
        "former_is_right: !former.is_right() };",
        "former_is_right: former.is_right() };",
        end_to_end("moving_faults::i4_what_was_not_carried"),
    ),
    Bug(
        "a copy that may have arrived late is forgotten",
        "proxy/src/movement/batch.rs",
        "            self.uncertain.borrow_mut().insert((database, parcel.key.key.clone()));\n            if was_sent {",
        "            if was_sent {",
        end_to_end("moving_faults::i3_a_copy"),
    ),
    Bug(
        "what nobody carries any more counts as arrived",
        "proxy/src/client/moving.rs",
        "Ok(Ok(Where::Unknown)) | Err(_) => tokio::time::sleep(ASK_AGAIN).await,",
        "Ok(Ok(Where::Unknown)) | Err(_) => return Ok(()),",
        end_to_end("moving_restarts::i4_whoever_waits_for_a_carrier"),
    ),
    Bug(
        "a node that was started again is believed as before",
        "proxy/src/movement/batch.rs",
        "self.former_is_right && !self.server.was_replaced()",
        "self.former_is_right",
        end_to_end("moving_restarts::f3_a_node"),
    ),
    Bug(
        "keys set out before all followers have taken the topology over",
        "proxy/src/movement/engine.rs",
        "tokio::join!(followed(Arc::clone(&shared), epoch), shared.followers.settled(epoch));",
        "(followed(Arc::clone(&shared), epoch).await, Vec::<Abandoned>::new());",
        end_to_end("followers_faults::i3_keys_wait", "followers_faults::i4_a_change"),
    ),
    Bug(
        "a follower does not wait for what it has sent",
        "admin/src/follow/follower.rs",
        "if let Ok(given_up) = tokio::time::timeout(limits::FOLLOWER_SETTLES, &mut settling).await {",
        "if let Ok(given_up) = Ok::<_, ()>(Vec::new()) {",
        end_to_end("followers_faults::i3_keys_wait"),
    ),
    Bug(
        "a leader does not fence what its followers have given up",
        "proxy/src/movement/engine.rs",
        "            given_up.extend(others.into_iter().map(Abandoned::into_parts));\n",
        "            drop(others);\n            given_up.extend([]);\n",
        end_to_end("followers_faults::i3_what_a_follower"),
    ),
    Bug(
        "a follower takes keys that nobody brings for keys that have arrived",
        "admin/src/follow/wanted.rs",
        "asked.into_iter().for_each(|(waiting, _)| waiting.wanted.look_again());",
        "asked.into_iter().for_each(|(waiting, _)| waiting.wanted.answer(Ok(())));",
        end_to_end("followers_faults::f3_a_leader", "followers::f1_keys_move"),
    ),
    Bug(
        "an operator can forget a follower that lives",
        "proxy/src/followers.rs",
        "None => known.is_silent(now),",
        "None => true,",
        end_to_end("followers_faults::i4_no_keys"),
    ),
    Bug(
        "a change is taken back though keys have moved",
        "proxy/src/movement/mod.rs",
        "now if now == epoch => Some(0),",
        "now if now == epoch => Some(now),",
        end_to_end("followers::f1_keys_move"),
    ),
    Bug(
        "a follower that has left may come back by what it was told then",
        "admin/src/follow/follower.rs",
        "Ok(()) => return in_background(move || processes.has_left()).await,",
        "Ok(()) => return in_background(move || processes.counts(&[])).await,",
        end_to_end("followers_faults::f5_a_follower_that_left"),
    ),
    Bug(
        "a leader forgets its followers when it is started again",
        "src/commands/keeper.rs",
        "            remember_followers(control, &path, self.followers.clone());",
        "            remember_followers(control, &path, Vec::new());",
        end_to_end("followers_faults::i4_no_keys"),
    ),
    Bug(
        "keys in databases beside the first stay behind",
        "proxy/src/movement/carrier.rs",
        "lines().filter_map(number).collect())",
        "lines().filter_map(number).take(1).collect())",
        end_to_end("moving::f1_what_waits", "moving_faults::f1_commands_of_every_kind"),
    ),
    Bug(
        "whoever hands over does not wait for what it has sent",
        "proxy/src/movement/engine.rs",
        "    if topology.former().is_some() {\n        let limit",
        "    if false {\n        let limit",
        end_to_end("moving_restarts::f4_who_hands_over"),
    ),
    Bug(
        "a server that sentinels name is not asked whether it is a master",
        "proxy/src/upstream/greeting.rs",
        "    if is_to_a_master {\n        request_bytes(Step::Role",
        "    if is_to_a_master && scripts.len() > 9 {\n        request_bytes(Step::Role",
        end_to_end("sentinels::the_newest"),
    ),
    Bug(
        "a sentinel of the past is believed",
        "proxy/src/sentinels.rs",
        "(Some(believed), Some(newer)) if newer.0 > believed.view.0 => {",
        "(Some(believed), Some(newer)) if newer != believed.view => {",
        ("test", "-p", "ringway-proxy", "--lib", "sentinels"),
    ),
    Bug(
        "who watches keys at a former master stays there",
        "proxy/src/upstream/dedicated.rs",
        "trouble.borrow().clone()).or_else(elsewhere);",
        "trouble.borrow().clone()).or_else(|| elsewhere().filter(|_| false));",
        end_to_end("sentinels::f1_connections"),
    ),
    Bug(
        "shared connections to a former master are kept while they work",
        "proxy/src/upstream/link.rs",
        "if self.stream.borrow().as_ref().is_some_and(Stream::is_outdated) {",
        "if self.stream.borrow().as_ref().is_some_and(|stream| stream.is_outdated() && stream.owes()) {",
        end_to_end("sentinels::f1_connections"),
    ),
    Bug(
        "a client that writes all before it reads is read no further",
        "proxy/src/client/bounds.rs",
        "const ROOM_GROWS_BY: usize = 4;",
        "const ROOM_GROWS_BY: usize = 1;",
        end_to_end("pipeline::a_client_that_writes_all"),
    ),
    Bug(
        "commands that only nodes know are forgotten with the last node that told of them",
        "proxy/src/command/learned/mod.rs",
        "told.is_of_the_past = !told.known.keys().any(|node| stays(node));",
        "told.is_of_the_past = false;",
        end_to_end("new_commands::learned_commands_are_known"),
    ),
    Bug(
        "rights of a user are those of the first rule",
        "proxy/src/acl/selector.rs",
        "let last = self.rules.iter().rev().find(|rule| rule.about.concerns(command));",
        "let last = self.rules.iter().find(|rule| rule.about.concerns(command));",
        end_to_end("acl::rights_are_those"),
    ),
    Bug(
        "only the first key of a command is judged",
        "proxy/src/acl/selector.rs",
        "for (nth, at) in keys.iter().enumerate() {",
        "for (nth, at) in keys.iter().enumerate().take(1) {",
        end_to_end("acl::a_user_does", "acl::rights_are_those"),
    ),
    Bug(
        "who may read a key may write it",
        "proxy/src/acl/selector.rs",
        "(known.read || !read) && (known.write || !write)",
        "(known.read || !read || known.write || !write)",
        end_to_end("acl::a_user_does", "acl::rights_are_those"),
    ),
    Bug(
        "a change of users reaches the asking worker alone",
        "proxy/src/client/acl.rs",
        "std::future::ready(users_changed(&worker, Some(id)))",
        "std::future::ready(worker.clients.borrow().contains_key(&id) && users_changed(&worker, Some(id)))",
        end_to_end("acl::a_change_holds"),
    ),
    Bug(
        "a transaction goes on with rights that are gone",
        "proxy/src/client/session.rs",
        "Followed::Changed => self.transaction.judge_again(),",
        "Followed::Changed => {}",
        end_to_end("acl::a_change_holds"),
    ),
    Bug(
        "whoever may run EVAL by its category runs scripts",
        "proxy/src/acl/selector.rs",
        "if runs_scripts(command) && !self.is_unlimited() && !self.names(command) {",
        "if runs_scripts(command) && false {",
        end_to_end("acl::a_user_does"),
    ),
    Bug(
        "what is kept holds though it was written",
        "proxy/src/near/mod.rs",
        "(!is_over && self.ledger.holds(read.hash, variant.stamp)).then_some((kept, hits))",
        "(!is_over).then_some((kept, hits))",
        end_to_end("near_cache_writes::"),
    ),
    Bug(
        "a write is noted only when it has ended",
        "proxy/src/client/near.rs",
        "let guard = if command.route == Route::Waiting { guard } else { guard.begin() };",
        "let guard = if command.route == Route::Waiting { guard } else { guard };",
        end_to_end("near_cache_writes::while_a_write"),
    ),
    Bug(
        "a write is noted only when it is sent",
        "proxy/src/client/near.rs",
        "    inner.pipeline.guard(mark, guard);\n",
        "    let _ = mark;\n    drop(guard);\n",
        end_to_end("near_cache_writes::what_is_asked_for_while"),
    ),
    Bug(
        "what is asked for behind another look at the same key is answered at once",
        "proxy/src/client/near.rs",
        "if !named.has(part(read.hash())) && near",
        "if near",
        end_to_end("near_cache::i2_"),
    ),
    Bug(
        "MGET is answered at once behind another look at its keys",
        "proxy/src/client/near.rs",
        "len = len.filter(|_| !named.has(part)).and_then(add)",
        "len = len.and_then(add)",
        end_to_end("near_cache::i2_"),
    ),
    Bug(
        "MGET is never answered from what is kept",
        "proxy/src/client/near.rs",
        "        let all = near.cache.answer_all(reads, &by, values);",
        "        let all = near.cache.answer_all(reads, &by, values) && false;",
        end_to_end("near_cache::"),
    ),
    Bug(
        "MGET leaves out a value that holds no longer",
        "proxy/src/near/mod.rs",
        "                out.truncate(before);\n                return false;",
        "                continue;",
        ("test", "-p", "ringway-proxy", "--lib", "near"),
    ),
    Bug(
        "what a transaction writes is not noted",
        "proxy/src/client/near.rs",
        "inner.session.transaction.will_write(&guard);",
        "let _ = &guard;",
        end_to_end("near_cache_writes::what_is_asked_for_while"),
    ),
    Bug(
        "what is kept outlives its key",
        "proxy/src/near/mod.rs",
        "if let Some(life) = life.filter(|life| *life < max_age) {",
        "if let Some(life) = life.filter(|life| *life < max_age && false) {",
        end_to_end("near_cache::"),
    ),
    Bug(
        "a lost connection leaves what was kept by it",
        "proxy/src/near/mod.rs",
        "        inner.store.lost(line);\n",
        "        let _ = line;\n",
        end_to_end("near_cache_nodes::"),
    ),
    Bug(
        "what is kept holds by another topology",
        "proxy/src/near/mod.rs",
        "if inner.epoch != by.epoch {",
        "if inner.epoch != by.epoch && false {",
        end_to_end("near_cache_nodes::"),
    ),
    Bug(
        "what a key lost before it got its place is not told",
        "proxy/src/hot_keys.rs",
        "missed: self.taken }",
        "missed: 0 }",
        ("test", "-p", "ringway-proxy", "--lib", "hot_keys"),
    ),
    Bug(
        "nobody may count keys any more after one who hung up",
        "proxy/src/control/hot_keys.rs",
        "self.0.counts_keys.store(false, Ordering::Release);",
        "",
        end_to_end("hot_keys::"),
    ),
    Bug(
        "a transaction empties one of several nodes",
        "proxy/src/route/together.rs",
        "(topology.nodes().len() > 1 || topology.former().is_some())",
        "topology.former().is_some()",
        end_to_end("transactions"),
    ),
    Bug(
        "a worker without commands counts keys by a ring of the past",
        "proxy/src/worker.rs",
        "self.key_counts.borrow_mut().iter_mut().for_each(|counts| counts.follow(&topology));",
        "",
        end_to_end("hot_keys::"),
    ),
    Bug(
        "what only looks at a key counts as a write",
        "proxy/src/command/row.rs",
        " || only_looks)",
        ")",
        end_to_end("pause_holds_commands_back"),
    ),
)


def copy_sources() -> None:
    """The committed and the uncommitted sources, without what was built."""
    COPY.mkdir(parents=True, exist_ok=True)
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    names = set(listed.stdout.splitlines())
    for left in [path for path in COPY.rglob("*") if path.is_file()]:
        if str(left.relative_to(COPY)) not in names or not (ROOT / left.relative_to(COPY)).is_file():
            left.unlink()
    for name in sorted(names):
        source, target = ROOT / name, COPY / name
        if source.is_file():
            content = source.read_bytes()
            # what has not changed keeps its time, so that it is not compiled again
            if not target.exists() or target.read_bytes() != content:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
                target.chmod(source.stat().st_mode)


def cargo(*words: str, limit: float | None = None) -> tuple[int | None, str]:
    """Exit code (None when it took too long) and the output."""
    environment = os.environ | {"CARGO_TARGET_DIR": str(ROOT / "target" / "sabotage-build"), "RUST_BACKTRACE": "0"}
    process = subprocess.Popen(
        ["cargo", *words], cwd=COPY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        return None, output
    return process.returncode, output


def caught(bug: Bug) -> str | None:
    """Why the bug counts as caught, or None."""
    place = COPY / bug.file
    good = place.read_text()
    if good.count(bug.old) != 1:
        raise SystemExit(f"sabotage: '{bug.name}' no longer fits {bug.file}; mend the list in {Path(__file__).name}")
    place.write_text(good.replace(bug.old, bug.new))
    try:
        split = bug.tests.index("--") if "--" in bug.tests else len(bug.tests)
        built, output = cargo(*bug.tests[:split], "--no-run")
        if built != 0:
            raise SystemExit(f"sabotage: '{bug.name}' does not compile:\n{output[-3000:]}")
        code, output = cargo(*bug.tests, limit=PATIENCE)
        if code is None:
            return "a test that does not end"
        failed = [line.split()[1] for line in output.splitlines() if line.startswith("test ") and line.endswith("FAILED")]
        return ", ".join(failed[:3]) if code != 0 and failed else None
    finally:
        place.write_text(good)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="parts of the bugs' names")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    chosen = [bug for bug in BUGS if not arguments.names or any(name in bug.name for name in arguments.names)]
    if arguments.list:
        print("\n".join(f"{bug.name}  ({bug.file})" for bug in BUGS))
        return 0
    copy_sources()
    silent = 0
    for bug in chosen:
        begin = time.monotonic()
        by = caught(bug)
        silent += by is None
        print(f"{'caught' if by else 'NOT CAUGHT'}  {bug.name}: {by or 'no test fails'}  ({time.monotonic() - begin:.0f} s)", flush=True)
    print(f"{len(chosen)} bugs, {silent} not caught")
    return 1 if silent else 0


if __name__ == "__main__":
    sys.exit(main())

use super::*;
use crate::command::Join;
use crate::error::Fate;
use crate::settings::NodeSpec;

fn drain(pipeline: &mut Pipeline) -> String {
    let out = String::from_utf8(pipeline.unwritten().to_vec()).unwrap();
    pipeline.wrote(out.len());
    out
}

#[test]
fn i2_replies_leave_in_the_order_of_commands_however_they_come() {
    // all orders in which four replies can come in, each in one or two pieces
    for order in permutations(4) {
        for pieces in 0..16u32 {
            let mut pipeline = Pipeline::default();
            let mut spare = Spare::default();
            let numbers: Vec<u64> = (0..4).map(|_| pipeline.wait(10)).collect();
            let mut seen = String::new();
            for &at in &order {
                let reply = format!("$1\r\n{at}\r\n");
                if pieces & (1 << at) != 0 {
                    pipeline.reply(numbers[at], 0, &reply.as_bytes()[..3], false, &mut spare);
                    seen += &drain(&mut pipeline);
                    pipeline.reply(numbers[at], 0, &reply.as_bytes()[3..], true, &mut spare);
                } else {
                    pipeline.reply(numbers[at], 0, reply.as_bytes(), true, &mut spare);
                }
                seen += &drain(&mut pipeline);
            }
            assert_eq!(seen, "$1\r\n0\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n", "{order:?} {pieces:b}");
            assert_eq!((pipeline.len(), pipeline.waiting_bytes(), pipeline.reply_bytes()), (0, 0, 0));
        }
    }
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for shorter in permutations(n - 1) {
        for at in 0..n {
            let mut longer = shorter.clone();
            longer.insert(at, n - 1);
            all.push(longer);
        }
    }
    all
}

#[test]
fn local_answers_wait_for_those_before_them() {
    let mut pipeline = Pipeline::default();
    let mut spare = Spare::default();
    pipeline.answer(&mut spare, |out| out.extend_from_slice(b"+1\r\n"));
    let number = pipeline.wait(5);
    pipeline.answer(&mut spare, |out| out.extend_from_slice(b"+3\r\n"));
    assert_eq!(drain(&mut pipeline), "+1\r\n");
    pipeline.reply(number, 0, b"+2\r\n", true, &mut spare);
    assert_eq!(drain(&mut pipeline), "+2\r\n+3\r\n");
}

#[test]
fn a_reply_that_broke_off_is_told_only_while_nothing_of_it_has_left() {
    let node = NodeSpec::new("n", "h:1");
    let failure = Failure { fate: Fate::Unknown, node: &node, why: "gone" };
    let mut pipeline = Pipeline::default();
    let mut spare = Spare::default();
    let (first, second) = (pipeline.wait(1), pipeline.wait(1));
    pipeline.reply(second, 0, b"$9\r\nabc", false, &mut spare);
    assert_eq!(pipeline.fail(second, 0, failure, &mut spare), Ok(false));
    pipeline.reply(first, 0, b"$9\r\nabc", false, &mut spare);
    assert_eq!(pipeline.fail(first, 0, failure, &mut spare), Err(BrokenOff));
}

#[test]
fn a_join_takes_one_place_and_leaves_when_its_last_part_comes() {
    let mut pipeline = Pipeline::default();
    let mut spare = Spare::default();
    let mut joining = spare.joining();
    joining.begin(Join::Sum, true, &[0, 1], 2, 1 << 20);
    let number = pipeline.join(20, joining);
    let after = pipeline.wait(1);
    pipeline.reply(after, 0, b"+after\r\n", true, &mut spare);
    pipeline.reply(number, 1, b":2\r\n", true, &mut spare);
    assert_eq!(drain(&mut pipeline), "");
    pipeline.reply(number, 0, b":1\r\n", true, &mut spare);
    assert_eq!(drain(&mut pipeline), ":3\r\n+after\r\n");
    assert_eq!(pipeline.reply_bytes(), 0);
}

#[test]
fn messages_leave_between_replies_and_never_inside_one() {
    let (mut pipeline, mut spare) = (Pipeline::default(), Spare::default());
    let by = pipeline.wait(1);
    pipeline.reply(by, 0, b"+confirmed\r\n", true, &mut spare);
    pipeline.message(by, b'>', b"a\r\n");
    assert_eq!(drain(&mut pipeline), "+confirmed\r\n>a\r\n");
    let (first, second) = (pipeline.wait(1), pipeline.wait(1));
    pipeline.message(by, b'>', b"b\r\n");
    pipeline.reply(first, 0, b"$2\r\nx", false, &mut spare);
    pipeline.message(by, b'>', b"c\r\n");
    pipeline.reply(second, 0, b"+second\r\n", true, &mut spare);
    assert_eq!(drain(&mut pipeline), ">b\r\n$2\r\nx");
    assert_eq!(pipeline.reply_bytes(), 9 + 4);
    pipeline.reply(first, 0, b"y\r\n", true, &mut spare);
    assert_eq!(drain(&mut pipeline), "y\r\n>c\r\n+second\r\n");
    assert_eq!((pipeline.len(), pipeline.reply_bytes()), (0, 0));
}

#[test]
fn messages_wait_for_the_confirmation_and_come_before_the_next_reply() {
    let (mut pipeline, mut spare) = (Pipeline::default(), Spare::default());
    let (before, confirmation, after) = (pipeline.wait(1), pipeline.wait(1), pipeline.wait(1));
    pipeline.message(confirmation, b'>', b"m\r\n");
    pipeline.reply(after, 0, b"+after\r\n", true, &mut spare);
    pipeline.reply(confirmation, 0, b"+confirmed\r\n", true, &mut spare);
    pipeline.message(confirmation, b'>', b"n\r\n");
    assert_eq!(drain(&mut pipeline), "");
    pipeline.reply(before, 0, b"+before\r\n", true, &mut spare);
    assert_eq!(drain(&mut pipeline), "+before\r\n+confirmed\r\n>m\r\n>n\r\n+after\r\n");
}

#[test]
fn i2_what_is_silent_keeps_its_place_and_leaves_nothing() {
    let mut pipeline = Pipeline::default();
    let mut spare = Spare::default();
    pipeline.answer(&mut spare, |out| out.extend_from_slice(b"+FIRST\r\n"));
    let heard = pipeline.wait(1);
    let mark = pipeline.mark();
    let mut joining = spare.joining();
    joining.begin(Join::Sum, true, &[0, 1], 2, 1 << 20);
    let joined = pipeline.join(20, joining);
    let waiting = pipeline.wait(1);
    pipeline.answer(&mut spare, |out| out.extend_from_slice(b"+LOST\r\n"));
    pipeline.silence_since(mark, &mut spare);
    let last = pipeline.wait(1);
    let failed = Failure { fate: Fate::Unknown, node: &NodeSpec::new("n", "h:1"), why: "gone" };
    pipeline.reply(joined, 0, b":1\r\n", true, &mut spare);
    pipeline.reply(waiting, 0, b"$100\r\nabc", false, &mut spare);
    assert_eq!(pipeline.fail(waiting, 0, failed, &mut spare), Ok(false));
    pipeline.reply(last, 0, b"+LAST\r\n", true, &mut spare);
    pipeline.reply(heard, 0, b"+HEARD\r\n", true, &mut spare);
    assert_eq!(drain(&mut pipeline), "+FIRST\r\n+HEARD\r\n");
    pipeline.reply(joined, 1, b":2\r\n", true, &mut spare);
    assert_eq!(drain(&mut pipeline), "+LAST\r\n");
    assert_eq!((pipeline.len(), pipeline.waiting_bytes(), pipeline.reply_bytes()), (0, 0, 0));
    // what was answered at once, with nothing before it
    let mark = pipeline.mark();
    pipeline.answer(&mut spare, |out| out.extend_from_slice(b"+LOST\r\n"));
    pipeline.silence_since(mark, &mut spare);
    assert_eq!(drain(&mut pipeline), "");
}

//! Questions that concern the clients of all workers: `CLIENT LIST`, `CLIENT KILL` and their kin.

use std::future::ready;
use std::rc::Rc;

use super::{Client, Inner, SlotRef};
use crate::upstream::ReplyTo;
use crate::worker::Worker;

/// Asks every worker, on its own thread; `finish` makes one reply of their answers, which come in the order of the
/// workers. A worker that has ended gives none.
pub(super) fn ask_workers<R: Send + 'static>(
    client: &Rc<Client>,
    inner: &mut Inner,
    cost: usize,
    question: impl Fn(&Rc<Worker>) -> R + Clone + Send + 'static,
    finish: impl FnOnce(Vec<R>, &mut Vec<u8>) + 'static,
) {
    ask_workers_at_leisure(client, inner, cost, move |worker| ready(question(&worker)), finish);
}

/// As [`ask_workers`], for a question that takes long: its answer is a future, which lets others in between.
pub(super) fn ask_workers_at_leisure<R: Send + 'static, F: Future<Output = R> + 'static>(
    client: &Rc<Client>,
    inner: &mut Inner,
    cost: usize,
    question: impl Fn(Rc<Worker>) -> F + Clone + Send + 'static,
    finish: impl FnOnce(Vec<R>, &mut Vec<u8>) + 'static,
) {
    let number = inner.pipeline.wait(cost);
    let to = SlotRef { client: Rc::clone(client), number, part: 0 };
    let answers = client.worker.shared.gather(question);
    tokio::task::spawn_local(async move {
        let mut reply = Vec::new();
        finish(answers.await, &mut reply);
        to.reply(&reply, true);
    });
}

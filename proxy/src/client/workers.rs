//! Questions that concern the clients of all workers: `CLIENT LIST`, `CLIENT KILL` and their kin.

use std::future::ready;
use std::rc::Rc;

use tokio::sync::oneshot;

use super::{Client, Inner, SlotRef};
use crate::upstream::ReplyTo;
use crate::worker::{ToWorker, Worker};

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
    let answers = gather(&client.worker, question);
    tokio::task::spawn_local(async move {
        let mut reply = Vec::new();
        finish(answers.await, &mut reply);
        to.reply(&reply, true);
    });
}

/// What all workers answer, in their order; they are asked at once. A worker that has ended answers nothing.
pub(super) fn gather<R: Send + 'static, F: Future<Output = R> + 'static>(
    worker: &Worker,
    question: impl Fn(Rc<Worker>) -> F + Clone + Send + 'static,
) -> impl Future<Output = Vec<R>> + 'static {
    let mut awaited = Vec::new();
    for worker in &worker.shared.workers {
        let (answer, receiver) = oneshot::channel();
        let question = question.clone();
        let ask = ToWorker::Run(Box::new(move |worker| {
            let found = question(Rc::clone(worker));
            // whoever asked may be gone when the answer comes
            tokio::task::spawn_local(async move { drop(answer.send(found.await)) });
        }));
        if worker.sender.send(ask).is_ok() {
            awaited.push(receiver);
        }
    }
    async move {
        let mut answers = Vec::new();
        for receiver in awaited {
            answers.extend(receiver.await.ok());
        }
        answers
    }
}

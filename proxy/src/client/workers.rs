//! Questions that concern the clients of all workers: `CLIENT LIST`, `CLIENT KILL` and their kin.

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
    let number = inner.pipeline.wait(cost);
    let to = SlotRef { client: Rc::clone(client), number, part: 0 };
    let mut awaited = Vec::new();
    for worker in &client.worker.shared.workers {
        let (answer, receiver) = oneshot::channel();
        let question = question.clone();
        // whoever asked may be gone when the answer comes
        let ask = ToWorker::Run(Box::new(move |worker| drop(answer.send(question(worker)))));
        if worker.sender.send(ask).is_ok() {
            awaited.push(receiver);
        }
    }
    tokio::task::spawn_local(async move {
        let mut answers = Vec::new();
        for receiver in awaited {
            answers.extend(receiver.await.ok());
        }
        let mut reply = Vec::new();
        finish(answers, &mut reply);
        to.reply(&reply, true);
    });
}

//! Questions that every worker answers on its own thread.

use std::rc::Rc;

use tokio::sync::oneshot;

use super::Shared;
use crate::worker::{ToWorker, Worker};

impl Shared {
    /// What all workers answer, in their order; they are asked at once. A worker that has ended answers nothing. A question
    /// that takes long is a future, which lets others in between.
    pub(crate) fn gather<R: Send + 'static, F: Future<Output = R> + 'static>(
        &self,
        question: impl Fn(Rc<Worker>) -> F + Clone + Send + 'static,
    ) -> impl Future<Output = Vec<R>> + Send + 'static {
        let mut awaited = Vec::new();
        for worker in &self.workers {
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

    /// Has every worker do this when it comes to it.
    pub(crate) fn tell_workers(&self, what: impl Fn(&Rc<Worker>) + Clone + Send + 'static) {
        for worker in &self.workers {
            // one that has ended does nothing
            let _ = worker.sender.send(ToWorker::Run(Box::new(what.clone())));
        }
    }
}

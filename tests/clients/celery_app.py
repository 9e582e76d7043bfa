"""A Celery application, as its worker and its caller import it; the address comes from the environment."""

import os

from celery import Celery

URL = f"redis://{os.environ['RINGWAY_ADDRESS']}"
app = Celery("ringway", broker=f"{URL}/0", backend=f"{URL}/1")
# a queue, its bindings and what is unacknowledged are used in one transaction, and so are a result and its channel
app.conf.broker_transport_options = {"global_keyprefix": "{celery}"}
app.conf.result_backend_transport_options = {"global_keyprefix": "{celery}"}
app.conf.broker_connection_retry_on_startup = True


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=3)
def third_time(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    return "done"

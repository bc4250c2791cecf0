//! The PUSH enabler that a server posts its notices to, played by this process: when did a notice of which message come?
//!
//! It takes what a server is told to post as JSON (event lists of OMA NMS), answers 200 to all of it, and looks at new
//! messages alone.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// Octets of a notice that are read.
const NOTICE_BYTES_MAX: usize = 1 << 20;

/// The UID of the newest message that a notice told of, and when the notice came.
pub type Noticed = (u64, Instant);

type Listeners = Mutex<HashMap<(String, String), watch::Sender<Noticed>>>;

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Enabler {
    /// By account and folder.
    listeners: Arc<Listeners>,
    task: AbortHandle,
}

impl Enabler {
    /// Listens at `address`, on the runtime of the caller.
    ///
    /// # Errors
    /// When it cannot be listened on.
    pub async fn start(address: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot play the enabler at {address}"))?;
        let listeners = Arc::new(Listeners::default());
        let task = tokio::spawn(serve(listener, Arc::clone(&listeners))).abort_handle();
        Ok(Self { listeners, task })
    }

    /// Notices of new messages in a folder of an account, from now on.
    pub fn listen(&self, account: &str, folder: &str) -> watch::Receiver<Noticed> {
        let key = (account.to_owned(), folder.to_owned());
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.entry(key).or_insert_with(|| watch::Sender::new((0, Instant::now()))).subscribe()
    }
}

impl Drop for Enabler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, listeners: Arc<Listeners>) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        // Without it an answer would wait for the acknowledgement of the one before.
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let listeners = Arc::clone(&listeners);
        connections.spawn(async move {
            let take = service_fn(|request| take(request, Instant::now(), &listeners));
            // The server opens another one where this fails.
            let _ =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), take).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn take(
    request: Request<Incoming>,
    came: Instant,
    listeners: &Listeners,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    if let Ok(body) = Limited::new(request.into_body(), NOTICE_BYTES_MAX).collect().await
        && let Ok(notice) = serde_json::from_slice::<Value>(&body.to_bytes())
    {
        let listeners = listeners.lock().unwrap_or_else(PoisonError::into_inner);
        for (account, folder, uid) in new_messages(&notice) {
            if let Some(listener) = listeners.get(&(account.to_owned(), folder.to_owned())) {
                listener.send_if_modified(|newest| {
                    let newer = uid > newest.0;
                    if newer {
                        *newest = (uid, came);
                    }
                    newer
                });
            }
        }
    }
    Ok(Response::new(Empty::new()))
}

/// Account, folder and UID of each new or changed message of a notice.
fn new_messages(notice: &Value) -> impl Iterator<Item = (&str, &str, u64)> {
    let message = &notice["push-message"];
    let account = message["recipients"][0]["uri"].as_str().unwrap_or_default();
    let events = message["nmsEventList"]["nmsEvent"].as_array();
    events.into_iter().flatten().filter_map(move |event| {
        let object = event.get("changedObject")?;
        let (_, uid) = object["resourceURL"].as_str()?.rsplit_once("/;UID=")?;
        Some((account, object["parentFolder"].as_str()?, uid.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_notice() {
        let notice = serde_json::json!({ "push-message": {
            "recipients": [{ "uri": "tel:+1" }],
            "nmsEventList": { "nmsEvent": [
                { "changedObject": { "parentFolder": "a", "resourceURL": "/a;UIDVALIDITY=7/;UID=5" } },
                { "deletedObject": { "parentFolder": "a", "resourceURL": "/a;UIDVALIDITY=7/;UID=6" } },
                { "changedFolder": { "path": "a" } },
                { "changedObject": { "parentFolder": "b", "resourceURL": "/b;UIDVALIDITY=8/;UID=1" } },
            ] },
        } });
        let found: Vec<_> = new_messages(&notice).collect();
        assert_eq!(found, [("tel:+1", "a", 5), ("tel:+1", "b", 1)]);
        assert_eq!(new_messages(&Value::Null).count(), 0);
    }
}

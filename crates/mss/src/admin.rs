//! The admin port: `/metrics`, `/healthz`, `/readyz`, for machines of the operator.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::process;

/// Most admin connections at once; more wait.
const CONNECTIONS_MAX: usize = 256;
/// Longest wait for a request's head: what keeps whoever says nothing from holding all places.
const HEAD_WAIT: Duration = Duration::from_secs(3);
/// Longest life of a connection, which has one request: for whoever takes nothing of the answer.
const CONNECTION_MAX: Duration = Duration::from_secs(20);

/// Bounds of histograms of seconds: 50 µs to 10 s.
const SECONDS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];
/// Bounds of histograms of bytes.
const BYTES: [f64; 10] = [256.0, 1e3, 4e3, 16e3, 64e3, 256e3, 1e6, 4e6, 16e6, 64e6];
/// Bounds of histograms of counts.
const COUNTS: [f64; 12] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 2048.0, 16384.0];

/// Makes the process's metrics recorder and keeps its histograms drained until `stop`.
///
/// # Errors
/// If the process has a recorder already.
pub fn install_metrics(stop: CancellationToken) -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".into()), &BYTES)?
        .set_buckets(&COUNTS)?
        .install_recorder()?;
    process::describe();
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {
                    upkeep.run_upkeep();
                }
            }
        }
    });
    Ok(handle)
}

/// What brings gauges up to date before they are read.
static REFRESHES: Mutex<Vec<Box<dyn Fn() + Send>>> = Mutex::new(Vec::new());

/// Calls `refresh` before each scrape, so that gauges which nobody sets as they change are fresh.
pub fn refresh_at_scrape(refresh: impl Fn() + Send + 'static) {
    REFRESHES.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(refresh));
}

/// Whether the process should get traffic, as the load balancer is told.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says yes or no from now on.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Says what `state` says, until the task is aborted.
    pub fn follow(&self, mut state: watch::Receiver<bool>) -> tokio::task::AbortHandle {
        self.set(*state.borrow_and_update());
        let readiness = self.clone();
        let follow = async move {
            while state.changed().await.is_ok() {
                readiness.set(*state.borrow_and_update());
            }
        };
        tokio::spawn(follow).abort_handle()
    }

    fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What the admin port answers from.
#[derive(Clone)]
pub struct Admin {
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// Whether to send traffic here.
    pub readiness: Readiness,
}

impl Admin {
    /// Serves `listener` until `stop`.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                // Out of file descriptors, as a rule: give the others time to close some.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let admin = self.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let response = admin.answer(&request);
                    async move { Ok::<_, Infallible>(response) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_WAIT)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                match tokio::time::timeout(CONNECTION_MAX, connection).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "admin connection ended"),
                    Err(_) => tracing::debug!("admin connection took too long"),
                }
                drop(place);
            });
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is allowed\n".into());
        }
        match request.uri().path() {
            "/metrics" => {
                process::record();
                for refresh in REFRESHES.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                    refresh();
                }
                text(StatusCode::OK, self.metrics.render())
            }
            "/healthz" => text(StatusCode::OK, "ok\n".into()),
            "/readyz" if self.readiness.is_ready() => text(StatusCode::OK, "ready\n".into()),
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n".into()),
            _ => text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n".into()),
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

//! One request for the rest of a file, and what the server's answer means.

use std::time::Duration;

use ureq::http::{HeaderMap, Response, StatusCode, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, BodyReader};

use crate::DataError;

/// Time for a connection to be made.
const CONNECT: Duration = Duration::from_secs(30);

/// Asks for files. Proxies are taken from the environment, certificates from the system.
pub(super) struct Client(Agent);

/// What a server answered.
pub(super) enum Answer {
    /// Bytes follow.
    Body(Body),
    /// There are no bytes beyond those that are here.
    Complete,
    /// The bytes that are here are not the beginning of this file.
    StartOver,
    /// Nothing for now.
    Later {
        reason: String,
        /// When the server wishes to be asked again.
        wait: Option<Duration>,
    },
}

/// A file's bytes from `start` on.
pub(super) struct Body {
    pub(super) start: u64,
    /// Size of the whole file, where the server says.
    pub(super) total: Option<u64>,
    pub(super) reader: BodyReader<'static>,
}

impl Client {
    /// A client that gives up on a connection that is silent for so long.
    pub(super) fn new(silence: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A body must arrive as it is stored: checksums and ranges count its bytes.
            .accept_encoding("identity")
            .user_agent(concat!("selfie/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(silence))
            .timeout_per_read(Some(silence))
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build());
        Self(config.build().into())
    }

    /// Asks for a file from byte `start` on.
    ///
    /// # Errors
    ///
    /// If asking again would change nothing.
    pub(super) fn ask(&self, url: &str, start: u64) -> Result<Answer, DataError> {
        let mut request = self.0.get(url);
        if start > 0 {
            request = request.header(header::RANGE, format!("bytes={start}-"));
        }
        let response = match request.call() {
            Ok(response) => response,
            Err(error @ (ureq::Error::BadUri(_) | ureq::Error::InvalidProxyUrl)) => {
                return Err(DataError::setting("--url", "a URL", format!("{url} ({error})")));
            }
            Err(error) => return Ok(Answer::Later { reason: error.to_string(), wait: None }),
        };
        let headers = response.headers();
        match response.status() {
            StatusCode::OK => Ok(whole(response)),
            StatusCode::PARTIAL_CONTENT => match content_range(headers) {
                Some((Some(first), total)) if first == start => Ok(body(response, start, total)),
                _ => Ok(Answer::StartOver),
            },
            StatusCode::RANGE_NOT_SATISFIABLE if start > 0 => match content_range(headers) {
                Some((None, Some(total))) if total == start => Ok(Answer::Complete),
                _ => Ok(Answer::StartOver),
            },
            status if is_passing(status) => {
                let wait = text(headers, header::RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
                Ok(Answer::Later {
                    reason: format!("the server answered {status}"),
                    wait: wait.map(Duration::from_secs),
                })
            }
            status => Err(DataError::Unavailable { url: url.to_owned(), status: status.to_string() }),
        }
    }
}

/// Whether the answer may be another one later.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

/// The whole file from its beginning.
fn whole(response: Response<ureq::Body>) -> Answer {
    let total = response.body().content_length();
    body(response, 0, total)
}

fn body(response: Response<ureq::Body>, start: u64, total: Option<u64>) -> Answer {
    Answer::Body(Body { start, total, reader: response.into_body().into_reader() })
}

/// First byte and size of the whole, of `bytes 5-9/10` or `bytes */10`; a size that is not told is `*`.
fn content_range(headers: &HeaderMap) -> Option<(Option<u64>, Option<u64>)> {
    let (range, total) = text(headers, header::CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('/')?;
    let first = match range {
        "*" => None,
        range => Some(range.split_once('-')?.0.parse().ok()?),
    };
    Some((first, total.parse().ok()))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

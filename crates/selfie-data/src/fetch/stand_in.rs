//! An HTTP server of one thread, for tests: what it answers is a function of the request and of how many came before.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// By lower-case name.
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    /// The first byte asked for.
    pub(crate) fn first_byte(&self) -> Option<usize> {
        self.headers.get("range")?.strip_prefix("bytes=")?.split('-').next()?.parse().ok()
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Bytes of the body that are sent before the connection is closed.
    n_sent: usize,
}

impl Reply {
    pub(crate) fn new(status: u16, body: &[u8]) -> Self {
        Self { status, headers: Vec::new(), body: body.to_vec(), n_sent: body.len() }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// Changes what is sent behind what the headers promise.
    #[cfg(feature = "hub")]
    pub(crate) fn with_body(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.body);
        self
    }

    /// Sends the first bytes of the body alone, although its header promises all of them.
    pub(crate) fn cut_off_after(self, n_sent: usize) -> Self {
        Self { n_sent, ..self }
    }

    /// The bytes of a file that were asked for.
    pub(crate) fn ranged(request: &Request, file: &[u8]) -> Self {
        match request.first_byte() {
            None => Self::new(200, file),
            Some(first) if first < file.len() => {
                let range = format!("bytes {first}-{}/{}", file.len() - 1, file.len());
                Self::new(206, &file[first..]).header("Content-Range", range)
            }
            Some(_) => Self::new(416, b"").header("Content-Range", format!("bytes */{}", file.len())),
        }
    }

    fn send(&self, mut stream: &TcpStream, is_head: bool) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", self.status);
        if !self.headers.iter().any(|(name, _)| *name == "Content-Length") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        self.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        stream.write_all(head.as_bytes())?;
        stream.write_all(b"\r\n")?;
        stream.write_all(if is_head { b"" } else { &self.body[..self.n_sent] })
    }
}

/// The server; its thread ends with the process.
pub(crate) struct StandIn {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl StandIn {
    /// Serves what `answer` makes of a request, the `n`-th one counted from 0.
    pub(crate) fn serve(answer: impl Fn(&Request, usize) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        std::thread::spawn(move || {
            for (n, stream) in listener.incoming().flatten().enumerate() {
                let Some(request) = read(&stream) else { continue };
                seen.lock().unwrap().push(request.clone());
                // A client that went away is its own business.
                let _ = answer(&request, n).send(&stream, request.method == "HEAD");
            }
        });
        Self { address, requests }
    }

    /// The address of a path, which begins with a slash.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What was asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let header =
        |line: String| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    let headers = lines.take_while(|line| !line.is_empty()).filter_map(header).collect();
    Some(Request { method, path, headers })
}

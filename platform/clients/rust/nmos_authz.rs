// SPDX-License-Identifier: Apache-2.0
//! Asks nmos-authd whether a request may be served (AMWA IS-10).
//!
//! One file, Rust 1.63 or later, Linux, no crate: what the standard library lacks of `SOCK_SEQPACKET` is declared here. No call
//! panics: every question ends in a [`Reply`], which is `allowed()` if, and only if, the daemon allows. One [`Client`] a thread.

#[cfg(not(target_os = "linux"))]
compile_error!("nmos_authz asks over a SOCK_SEQPACKET socket of Linux");
#[cfg(any(target_arch = "mips", target_arch = "mips64", target_arch = "sparc64"))]
compile_error!("the numbers of mod sys are others on this architecture");

use std::io;
use std::os::raw::{c_int, c_ulong, c_void};
use std::os::unix::io::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

pub const SOCKET: &str = "/run/nmos-authd/authz.sock";
/// Bytes of a question, the daemon's own limit unless configured.
pub const PACKET_MAX: usize = 32768;
/// Bytes of a reply: `control` has the longest (PROTOCOL.md section 1).
pub const REPLY_MAX: usize = PACKET_MAX + 32768 + 1024;

/// Whether the daemon answered. All but `Ok` come with a denial, whose status is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The daemon answered; its decision may be either.
    Ok,
    /// 500: a value is missing: a fault of the program.
    BadCall,
    /// 400: a value holds a control character, or is not a command; nothing was sent.
    BadValue,
    /// 400: the question is longer than a packet may be; nothing was sent.
    TooLong,
    /// 400: the daemon did not take the packet; reason and detail say why.
    Refused,
    /// 503: no connection; system_error says why.
    Unreachable,
    /// 503: the daemon closed the connection, and the new one too.
    ConnectionLost,
    /// 503: no answer in time.
    Timeout,
    /// 503: the answer breaks the protocol or belongs to another question.
    BadReply,
}

impl Error {
    fn status(self) -> u16 {
        match self {
            Error::Ok => 200,
            Error::BadCall => 500,
            Error::BadValue | Error::TooLong | Error::Refused => 400,
            _ => 503,
        }
    }

    /// One word for a log.
    pub fn name(self) -> &'static str {
        match self {
            Error::Ok => "ok",
            Error::BadCall => "bad-call",
            Error::BadValue => "bad-value",
            Error::TooLong => "too-long",
            Error::Refused => "refused",
            Error::Unreachable => "unreachable",
            Error::ConnectionLost => "connection-lost",
            Error::Timeout => "timeout",
            Error::BadReply => "bad-reply",
        }
    }
}

/// The HTTP request that the question is about, exactly as it came: nothing decoded, nothing shortened.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a [u8],
    pub target: &'a [u8],
    /// `None` if there was no such header, which is not the same as an empty one.
    pub authorization: Option<&'a [u8]>,
    /// "websocket" for a handshake.
    pub upgrade: Option<&'a [u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// Whose commands [`Client::control`] asks about, and so which claim counts: IS-12's, or IS-14's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    Control,
    Configuration,
}

/// The answer. What the daemon did not say is `None`, `reason` is then empty.
#[must_use]
#[derive(Clone, Debug)]
pub struct Reply {
    allowed: bool,
    /// HTTP status to answer with.
    pub status: u16,
    pub error: Error,
    /// The errno behind the error, or 0.
    pub system_error: i32,
    /// A stable code.
    pub reason: String,
    pub client_id: Option<String>,
    pub subject: Option<String>,
    pub issuer: Option<String>,
    /// Normalised: route on this one, not on the target.
    pub path: Option<String>,
    pub www_authenticate: Option<String>,
    /// Observe mode: status and reason that enforce mode would have given.
    pub would: Option<String>,
    /// Seconds until the permission ends; close a WebSocket by then.
    pub expires_in: Option<u64>,
    /// Seconds.
    pub retry_after: Option<u64>,
    /// Targets of decide_all.
    pub denied: Vec<String>,
    pub detail: Option<String>,
    /// What the reason means, for people.
    pub text: Option<String>,
    configuration: bool,
}

impl Reply {
    fn new(error: Error, system_error: i32) -> Reply {
        let status = error.status();
        Reply {
            allowed: false,
            status,
            error,
            system_error,
            reason: String::new(),
            client_id: None,
            subject: None,
            issuer: None,
            path: None,
            www_authenticate: None,
            would: None,
            expires_in: None,
            retry_after: if status == 503 { Some(1) } else { None },
            denied: Vec::new(),
            detail: None,
            text: None,
            configuration: false,
        }
    }

    /// Serve the request only if this is true.
    pub fn allowed(&self) -> bool {
        self.allowed
    }

    /// The header fields that belong to a denial.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![("Content-Type", "application/json".to_string())];
        if let Some(challenge) = &self.www_authenticate {
            fields.push(("WWW-Authenticate", challenge.clone()));
        }
        if let Some(seconds) = self.retry_after {
            fields.push(("Retry-After", seconds.to_string()));
        }
        if self.status == 405 {
            fields.push(("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS".to_string()));
        }
        fields
    }

    /// The NMOS error body of a denial.
    pub fn body(&self) -> String {
        let debug = if self.reason.is_empty() { self.error.name() } else { &self.reason };
        if self.configuration {
            let status = if self.status == 403 { 401 } else { self.status }; // NcMethodStatus has no 403
            let message = match &self.text {
                Some(text) => format!("{} ({})", text, debug),
                None => debug.to_string(),
            };
            return format!("{{\"status\":{},\"errorMessage\":\"{}\"}}", status, escaped(&message));
        }
        let phrase = match self.status {
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            405 => "Method Not Allowed",
            500 => "Internal Server Error",
            503 => "Service Unavailable",
            _ => "Error",
        };
        let error = self.text.as_deref().unwrap_or(phrase);
        format!("{{\"code\":{},\"error\":\"{}\",\"debug\":\"{}\"}}", self.status, escaped(error), escaped(debug))
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

/// One of the device's own tokens. It goes into `Authorization: Bearer …` as it is, and nowhere else. Wiped at its end.
pub struct OwnToken {
    value: String,
    /// What it is good for, which may be less than was asked for.
    pub scope: String,
    /// By which to say that a server answered 401.
    pub id: String,
}

impl OwnToken {
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl Drop for OwnToken {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.value).into_bytes();
        wipe(&mut bytes);
    }
}

impl std::fmt::Debug for OwnToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OwnToken {}", self.id)
    }
}

/// A command on an object of the device model, or a subscription to one. Once asked, [`Command::allowed`] says what came of it.
#[derive(Clone, Debug)]
pub struct Command {
    line: Result<Vec<u8>, Error>, // of the question
    name: String,                 // in the reply
    status: u16,
}

impl Command {
    /// A command by its handle in the message: the object's class, "1.2.2.1", `None` if it is not known; the method, (4, 3) for 4m3;
    /// and the role path.
    pub fn method(handle: u32, class_id: Option<&str>, method: (u32, u32), role_path: &str) -> Command {
        let (level, index) = method;
        let class_id = class_id.unwrap_or("-");
        // A space in a class id would begin the next part of the line.
        let is_class = (1..=128).contains(&class_id.len()) && class_id.bytes().all(|c| c.is_ascii_digit() || c == b'.' || c == b'-');
        let good = is_class && (1..=65535).contains(&level) && (1..=65535).contains(&index) && is_role_path(role_path);
        let line = format!("command={} {} {}m{} {}\n", handle, class_id, level, index, role_path).into_bytes();
        Command { line: if good { Ok(line) } else { Err(Error::BadValue) }, name: format!("command {}", handle), status: 503 }
    }

    pub fn subscription(role_path: &str) -> Command {
        let line = format!("subscribe={}\n", role_path).into_bytes();
        let good = is_role_path(role_path);
        Command { line: if good { Ok(line) } else { Err(Error::BadValue) }, name: format!("subscribe {}", role_path), status: 503 }
    }

    /// May it be carried out?
    pub fn allowed(&self) -> bool {
        self.status == 200
    }

    /// 200, or the NcMethodStatus to answer with: 401 or 503.
    pub fn status(&self) -> u16 {
        self.status
    }
}

fn is_role_path(path: &str) -> bool {
    !path.is_empty() && path.len() <= 1024 && !path.bytes().any(is_control)
}

fn is_control(c: u8) -> bool {
    c < 0x20 || c == 0x7f
}

/// A question left standing. Wait for it to become readable with the rest; `turned` then says why the permission ended.
#[derive(Debug)]
pub struct Watch(OwnedFd);

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Watch {
    /// The denial that ends the WebSocket. `ConnectionLost`: the daemon has ended, ask again.
    pub fn turned(&self, timeout: Duration) -> Reply {
        let mut buffer = vec![0; REPLY_MAX];
        let deadline = Instant::now() + timeout;
        let read = receive(self.0.as_raw_fd(), &mut buffer, deadline).and_then(|n| read(&buffer[..n], None, false));
        match read {
            Ok((reply, _)) if !reply.allowed => reply,
            Ok(_) => Reply::new(Error::BadReply, 0),
            Err((error, system_error)) => Reply::new(error, system_error),
        }
    }
}

type Failure = (Error, i32);

/// A connection to the daemon and its buffers. It connects at its first question, so the daemon may start later.
#[derive(Debug)]
pub struct Client {
    path: String,
    /// For a whole call: connecting, sending and receiving together.
    pub timeout: Duration,
    connection: Option<OwnedFd>,
    owner: u32,
    counter: u64,
    request: Vec<u8>,
    reply: Vec<u8>,
}

/// What a reply says beside [`Reply`].
#[derive(Default)]
struct Said {
    scope: Option<String>,
    token_id: Option<String>,
    access_token: Option<String>,
}

impl Client {
    pub fn new(path: &str, timeout: Duration) -> Client {
        Client {
            path: path.to_string(),
            timeout,
            connection: None,
            owner: 0,
            counter: 0,
            request: Vec::with_capacity(PACKET_MAX),
            reply: vec![0; REPLY_MAX],
        }
    }

    /// May this request be served?
    pub fn decide(&mut self, request: &Request) -> Reply {
        self.about("decide 1", request, &[request.target])
    }

    /// May all of these targets be served, such as every source of an IS-07 WebSocket? `denied` lists the others.
    pub fn decide_all(&mut self, targets: &[&[u8]], authorization: Option<&[u8]>, upgrade: Option<&[u8]>) -> Reply {
        self.about("decide-all 1", &Request { method: b"GET", target: b"", authorization, upgrade }, targets)
    }

    /// `decide_all` for a WebSocket that stays open: the reply, and what is left standing if it allows.
    pub fn watch(&mut self, targets: &[&[u8]], authorization: Option<&[u8]>, upgrade: Option<&[u8]>) -> (Reply, Option<Watch>) {
        let mut other = Client::new(&self.path, self.timeout);
        let reply = other.about("watch-token 1", &Request { method: b"GET", target: b"", authorization, upgrade }, targets);
        let standing = if reply.allowed { other.connection.take().map(Watch) } else { None };
        (reply, standing)
    }

    /// Is this token good? An allow says nothing about any path.
    pub fn verify(&mut self, authorization: Option<&[u8]>) -> Reply {
        self.ask("verify 1", &[("authorization", authorization)], &[], false).0
    }

    /// May this resource of the device be read, or written? For what is not HTTP.
    pub fn resource(&mut self, kind: &[u8], name: &[u8], access: Access, authorization: Option<&[u8]>) -> Reply {
        let access: &[u8] = if access == Access::Read { b"read" } else { b"write" };
        let fields = [("kind", Some(kind)), ("name", Some(name)), ("access", Some(access)), ("authorization", authorization)];
        self.ask("resource 1", &fields, &[], false).0
    }

    /// A token of the device's own, with an allow and only then. `refused`: the id of one that a server answered with 401.
    pub fn token(&mut self, scope: &[u8], refused: Option<&[u8]>) -> (Reply, Option<OwnToken>) {
        let (reply, said) = self.ask("token 1", &[("scope", Some(scope)), ("refused", refused)], &[], false);
        wipe(&mut self.reply);
        let given = |s: Option<String>| s.filter(|s| !s.is_empty());
        let value = given(said.access_token).map(|value| OwnToken { value, scope: String::new(), id: String::new() });
        if !reply.allowed {
            return (reply, None);
        }
        match (value, given(said.scope), given(said.token_id)) {
            (Some(mut token), Some(scope), Some(id)) => {
                token.scope = scope;
                token.id = id;
                (reply, Some(token))
            }
            _ => {
                self.close();
                (Reply::new(Error::BadReply, 0), None)
            }
        }
    }

    /// May these commands be carried out, and these subscriptions be accepted? Carry out those that are `allowed()` afterwards,
    /// and no other.
    pub fn control(&mut self, api: Api, model: Option<&[u8]>, commands: &mut [Command], authorization: Option<&[u8]>) -> Reply {
        let mut lines = Vec::new();
        let mut fault = if commands.is_empty() { Some(Error::BadCall) } else { None };
        for c in commands.iter_mut() {
            c.status = 503;
            match &c.line {
                Ok(line) => lines.extend_from_slice(line),
                Err(error) => fault = Some(*error),
            }
        }
        if let Some(error) = fault {
            return Reply::new(error, 0);
        }
        let word: &[u8] = if api == Api::Control { b"control" } else { b"configuration" };
        let fields = [("api", Some(word)), ("model", model), ("authorization", authorization)];
        let reply = self.ask("control 1", &fields, &lines, false).0;
        if reply.error != Error::Ok {
            return reply;
        }
        // The last two words of a line are its status and its reason.
        let names: Vec<&str> = reply.denied.iter().map(|line| line.rsplitn(3, ' ').last().unwrap_or("")).collect();
        let all = names.contains(&"*") || names.is_empty() && !reply.allowed;
        if names.iter().any(|name| *name != "*" && !commands.iter().any(|c| c.name == *name)) {
            self.close();
            return Reply::new(Error::BadReply, 0); // about none of them, so that nothing can be said of any
        }
        for c in commands.iter_mut() {
            c.status = match reply.status {
                503 => 503,
                _ if all || names.contains(&c.name.as_str()) => 401,
                _ => 200,
            };
        }
        reply
    }

    /// Does the daemon answer? `Ok` if so.
    pub fn ping(&mut self) -> Error {
        self.ask("ping 1", &[], &[], true).0.error
    }

    /// Closes the connection. A later call connects again.
    pub fn close(&mut self) {
        self.connection = None;
    }

    fn about(&mut self, verb: &str, request: &Request, targets: &[&[u8]]) -> Reply {
        if targets.is_empty() {
            return Reply::new(Error::BadCall, 0);
        }
        let mut fields = vec![("method", Some(request.method))];
        fields.extend(targets.iter().map(|t| ("target", Some(*t))));
        fields.extend([("authorization", request.authorization), ("upgrade", request.upgrade)]);
        let mut reply = self.ask(verb, &fields, &[], false).0;
        const BASE: &[u8] = b"/x-nmos/configuration";
        let path = reply.path.as_ref().map_or(targets[0], |p| p.as_bytes());
        reply.configuration = path.starts_with(BASE) && matches!(path.get(BASE.len()), None | Some(b'/') | Some(b'?'));
        reply
    }

    /// lines are further ones, checked already. pong: a good answer is that to a ping.
    fn ask(&mut self, verb: &str, fields: &[(&str, Option<&[u8]>)], lines: &[u8], pong: bool) -> (Reply, Said) {
        self.counter += 1;
        let id = self.counter.to_string();
        let answer = self.write(verb, &id, fields, lines).and_then(|()| self.exchange());
        wipe(&mut self.request); // it holds a token
        match answer.and_then(|n| read(&self.reply[..n], Some(&id), pong)) {
            Ok((reply, said)) => {
                if reply.error != Error::Ok {
                    self.close(); // it may have been without an id, and so cannot be matched to the question
                }
                (reply, said)
            }
            Err((error, system_error)) => {
                self.close();
                (Reply::new(error, system_error), Said::default())
            }
        }
    }

    /// The id comes first, so that the daemon has read it before it can find fault with a value.
    fn write(&mut self, verb: &str, id: &str, fields: &[(&str, Option<&[u8]>)], lines: &[u8]) -> Result<(), Failure> {
        let mut size = verb.len() + id.len() + "\nid=\n".len() + lines.len();
        for (name, value) in fields.iter().filter_map(|(name, value)| value.map(|v| (name, v))) {
            if value.iter().copied().any(is_control) {
                return Err((Error::BadValue, 0)); // a newline would start a line of its own
            }
            size += name.len() + value.len() + 2;
        }
        if size > PACKET_MAX {
            return Err((Error::TooLong, 0));
        }
        self.request.clear();
        let mut put = |text: &[u8]| self.request.extend_from_slice(text);
        for text in [verb, "\nid=", id, "\n"] {
            put(text.as_bytes());
        }
        for (name, value) in fields.iter().filter_map(|(name, value)| value.map(|v| (name, v))) {
            for text in [name.as_bytes(), b"=", value, b"\n"] {
                put(text);
            }
        }
        put(lines);
        Ok(())
    }

    fn exchange(&mut self) -> Result<usize, Failure> {
        if self.owner != std::process::id() {
            self.close(); // inherited over fork: parent and child would read each other's answers
        }
        let deadline = Instant::now() + self.timeout;
        match self.try_once(deadline) {
            Err((Error::ConnectionLost, _)) => self.try_once(deadline), // a restarted daemon; a question changes nothing
            other => other,
        }
    }

    fn try_once(&mut self, deadline: Instant) -> Result<usize, Failure> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.path, deadline)?,
        };
        self.owner = std::process::id();
        send(connection.as_raw_fd(), &self.request, deadline)?;
        let n = receive(connection.as_raw_fd(), &mut self.reply, deadline)?;
        self.connection = Some(connection); // else it ends here: a late answer must not be taken for the next one
        Ok(n)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        wipe(&mut self.request);
        wipe(&mut self.reply);
    }
}

/// A plain fill of what is not read again may be left out by the compiler.
fn wipe(buffer: &mut [u8]) {
    for byte in buffer.iter_mut() {
        unsafe { std::ptr::write_volatile(byte, 0) };
    }
}

// ---- the socket ----

mod sys {
    use super::*;

    pub const AF_UNIX: c_int = 1;
    pub const SOCK_SEQPACKET: c_int = 5;
    pub const SOCK_NONBLOCK: c_int = 0o4000;
    pub const SOCK_CLOEXEC: c_int = 0o2000000;
    pub const MSG_TRUNC: c_int = 0x20;
    pub const MSG_NOSIGNAL: c_int = 0x4000;
    pub const POLLIN: i16 = 1;
    pub const POLLOUT: i16 = 4;
    pub const EMSGSIZE: i32 = 90;

    #[repr(C)]
    pub struct SockaddrUn {
        pub family: u16,
        pub path: [u8; 108],
    }

    #[repr(C)]
    pub struct PollFd {
        pub fd: c_int,
        pub events: i16,
        pub revents: i16,
    }

    extern "C" {
        pub fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
        pub fn connect(fd: c_int, address: *const SockaddrUn, size: u32) -> c_int;
        pub fn send(fd: c_int, data: *const c_void, size: usize, flags: c_int) -> isize;
        pub fn recv(fd: c_int, data: *mut c_void, size: usize, flags: c_int) -> isize;
        pub fn poll(fds: *mut PollFd, count: c_ulong, milliseconds: c_int) -> c_int;
    }
}

fn last() -> (io::ErrorKind, i32) {
    let e = io::Error::last_os_error();
    (e.kind(), e.raw_os_error().unwrap_or(0))
}

fn left(deadline: Instant) -> Result<Duration, Failure> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err((Error::Timeout, 0));
    }
    Ok(left)
}

fn connect(path: &str, deadline: Instant) -> Result<OwnedFd, Failure> {
    let mut address = sys::SockaddrUn { family: sys::AF_UNIX as u16, path: [0; 108] };
    if path.is_empty() || path.len() >= address.path.len() || path.bytes().any(|c| c == 0) {
        return Err((Error::BadCall, 0));
    }
    address.path[..path.len()].copy_from_slice(path.as_bytes());
    let fd = unsafe { sys::socket(sys::AF_UNIX, sys::SOCK_SEQPACKET | sys::SOCK_CLOEXEC | sys::SOCK_NONBLOCK, 0) };
    if fd < 0 {
        return Err((Error::Unreachable, last().1));
    }
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    loop {
        let left = left(deadline)?;
        if unsafe { sys::connect(fd.as_raw_fd(), &address, std::mem::size_of::<sys::SockaddrUn>() as u32) } == 0 {
            return Ok(fd);
        }
        match last() {
            (io::ErrorKind::Interrupted, _) => {}
            // A full backlog, which cannot be waited for.
            (io::ErrorKind::WouldBlock, _) => std::thread::sleep(left.min(Duration::from_millis(5))),
            (_, number) => return Err((Error::Unreachable, number)),
        }
    }
}

fn wait(fd: RawFd, events: i16, deadline: Instant) -> Result<(), Failure> {
    loop {
        let milliseconds = left(deadline)?.as_millis().min(1_000_000) as c_int + 1; // rounded up, or the last one would be a busy loop
        let mut one = sys::PollFd { fd, events, revents: 0 };
        let n = unsafe { sys::poll(&mut one, 1, milliseconds) };
        if n > 0 {
            return Ok(());
        }
        if n < 0 && last().0 != io::ErrorKind::Interrupted {
            return Err((Error::ConnectionLost, last().1));
        }
    }
}

fn send(fd: RawFd, packet: &[u8], deadline: Instant) -> Result<(), Failure> {
    // A packet goes whole or not at all.
    while unsafe { sys::send(fd, packet.as_ptr() as *const c_void, packet.len(), sys::MSG_NOSIGNAL) } < 0 {
        match last() {
            (io::ErrorKind::Interrupted, _) => {}
            (io::ErrorKind::WouldBlock, _) => wait(fd, sys::POLLOUT, deadline)?,
            (_, sys::EMSGSIZE) => return Err((Error::TooLong, sys::EMSGSIZE)),
            (_, number) => return Err((Error::ConnectionLost, number)),
        }
    }
    Ok(())
}

fn receive(fd: RawFd, buffer: &mut [u8], deadline: Instant) -> Result<usize, Failure> {
    loop {
        wait(fd, sys::POLLIN, deadline)?;
        // MSG_TRUNC: the length of the packet, though only a part of it may have fitted.
        let n = unsafe { sys::recv(fd, buffer.as_mut_ptr() as *mut c_void, buffer.len(), sys::MSG_TRUNC) };
        match n {
            n if n > buffer.len() as isize => return Err((Error::BadReply, sys::EMSGSIZE)),
            n if n > 0 => return Ok(n as usize),
            0 => return Err((Error::ConnectionLost, 0)),
            _ => match last() {
                (io::ErrorKind::Interrupted, _) | (io::ErrorKind::WouldBlock, _) => {}
                (_, number) => return Err((Error::ConnectionLost, number)),
            },
        }
    }
}

// ---- the reply ----

const BAD: Failure = (Error::BadReply, 0);

/// Decimal digits only. A number that is too large becomes the largest one, which ends a permission early, never late.
fn number(text: &str) -> Result<u64, Failure> {
    if text.is_empty() || !text.bytes().all(|c| c.is_ascii_digit()) {
        return Err(BAD);
    }
    Ok(text.parse::<u64>().unwrap_or(u64::MAX).min(i32::MAX as u64))
}

/// id `None`: any. A reply without an id is taken only if it says that the packet could not be read.
fn read(answer: &[u8], id: Option<&str>, pong: bool) -> Result<(Reply, Said), Failure> {
    if answer.last() != Some(&b'\n') || answer.iter().any(|c| is_control(*c) && *c != b'\n') {
        return Err(BAD);
    }
    let mut lines = answer[..answer.len() - 1].split(|c| *c == b'\n').map(String::from_utf8_lossy);
    let first = lines.next().unwrap_or_default();
    let mut reply = Reply::new(Error::Ok, 0);
    if let Some(status) = first.strip_prefix("error ").or_else(|| if pong { None } else { first.strip_prefix("deny ") }) {
        reply.status = number(status)? as u16;
        if status.len() != 3 || !(400..600).contains(&reply.status) {
            return Err(BAD);
        }
        if first.starts_with("error") {
            reply.error = Error::Refused;
        }
    } else if first == if pong { "pong 1" } else { "allow 200" } {
        reply.allowed = !pong;
    } else {
        return Err(BAD);
    }
    let (mut said, mut echo, mut reason) = (Said::default(), None, None);
    let (mut expires_in, mut retry_after) = (None, None);
    for line in lines {
        let (name, value) = line.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or(BAD)?;
        let place = match name {
            "id" => &mut echo,
            "reason" => &mut reason,
            "client-id" => &mut reply.client_id,
            "subject" => &mut reply.subject,
            "issuer" => &mut reply.issuer,
            "path" => &mut reply.path,
            "www-authenticate" => &mut reply.www_authenticate,
            "detail" => &mut reply.detail,
            "error" => &mut reply.text,
            "expires-in" => &mut expires_in,
            "retry-after" => &mut retry_after,
            "scope" => &mut said.scope,
            "token-id" => &mut said.token_id,
            "access-token" => &mut said.access_token,
            "denied" => {
                reply.denied.push(value.to_string());
                continue;
            }
            "would" => {
                reply.would.get_or_insert_with(|| value.to_string()); // further ones are about single commands
                continue;
            }
            _ => continue, // a later daemon's
        };
        if place.replace(value.to_string()).is_some() {
            return Err(BAD);
        }
    }
    if reply.allowed && !reply.denied.is_empty() {
        return Err(BAD);
    }
    if id.is_some() && echo.as_deref() != id && (reply.error != Error::Refused || echo.is_some()) {
        return Err(BAD);
    }
    reply.reason = reason.unwrap_or_default();
    reply.expires_in = expires_in.as_deref().map(number).transpose()?;
    reply.retry_after = retry_after.as_deref().map(number).transpose()?;
    Ok((reply, said))
}

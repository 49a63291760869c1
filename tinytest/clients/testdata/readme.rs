// What the lines of platform/clients/rust/README.md take for granted, around them.
use nmos_authz::Reply;
use std::time::Duration;

struct HttpRequest {
    raw_target: &'static str,
}

impl HttpRequest {
    fn method(&self) -> &[u8] {
        b"GET"
    }
    fn raw_target(&self) -> &[u8] {
        self.raw_target.as_bytes()
    }
    fn header(&self, _: &str) -> Option<&[u8]> {
        None
    }
}

type Response = String;

fn handle(request: &HttpRequest, path: Option<&str>) -> Response {
    format!("{}: {}", request.raw_target, if path == Some(request.raw_target) { "served" } else { "another path" })
}

fn respond(status: u16, headers: Vec<(&str, String)>, body: String) -> Response {
    let challenge = headers.iter().find(|h| h.0 == "WWW-Authenticate").map_or("none", |h| &h.1);
    let why = if body.contains("\"debug\":\"no-token\"") { "no-token" } else { &body };
    format!("/x-nmos/node/v1.3/self: {} {}, {}", status, why, challenge)
}

// README

fn main() {
    let _: Option<Reply> = None;
    let mut authz = client();
    for raw_target in ["/x-nmos/", "/x-nmos/node/v1.3/self"] {
        println!("{}", serve(&mut authz, &HttpRequest { raw_target }));
    }
}

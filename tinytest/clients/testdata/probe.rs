// Does with the Rust client what the Go test tells it; see probe.c.
use nmos_authz::{Access, Api, Client, Command, Error, Reply, Request};
use std::io::{self, BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Barrier;
use std::time::Duration;

fn value(word: Option<&String>) -> Option<Vec<u8>> {
    let hex = word?.strip_prefix('x')?;
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()).collect()
}

fn put(name: &str, text: Option<&str>) {
    if let Some(text) = text {
        println!("{}={}", name, text);
    }
}

fn show(r: &Reply) {
    println!("decision={}\nstatus={}\nerror={}", if r.allowed() { "allow" } else { "deny" }, r.status, r.error as u8);
    let number = |n: Option<u64>| n.map_or("-1".to_string(), |n| n.to_string());
    println!("expires-in={}\nretry-after={}\nreason={}", number(r.expires_in), number(r.retry_after), r.reason);
    put("client-id", r.client_id.as_deref());
    put("subject", r.subject.as_deref());
    put("issuer", r.issuer.as_deref());
    put("path", r.path.as_deref());
    put("www-authenticate", r.www_authenticate.as_deref());
    put("would", r.would.as_deref());
    put("detail", r.detail.as_deref());
    for target in &r.denied {
        println!("denied={}", target);
    }
    if !r.allowed() {
        println!("body={}", r.body());
    }
}

fn threads(socket: &str, timeout: Duration, count: usize, half: usize, v: &[Option<Vec<u8>>]) {
    let (allowed, wrong, answered) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let barrier = Barrier::new(count + 1);
    std::thread::scope(|scope| {
        for i in 0..count {
            let (allowed, wrong, answered, barrier) = (&allowed, &wrong, &answered, &barrier);
            scope.spawn(move || {
                let mut client = Client::new(socket, timeout);
                for _ in 0..2 {
                    for k in 0..half {
                        let bad = (k + i) % 2;
                        let target = v[3 + bad].as_deref().unwrap();
                        let request = Request { method: v[2].as_deref().unwrap(), target, authorization: v[5].as_deref(), upgrade: None };
                        let r = client.decide(&request);
                        answered.fetch_add((r.error == Error::Ok) as u64, Ordering::Relaxed);
                        if bad == 1 { wrong } else { allowed }.fetch_add(r.allowed() as u64, Ordering::Relaxed);
                    }
                    barrier.wait();
                    barrier.wait();
                }
            });
        }
        barrier.wait();
        println!("half=yes\n");
        io::stdin().lock().read_line(&mut String::new()).unwrap();
        for _ in 0..3 {
            barrier.wait();
        }
    });
    println!("allowed={}\nwrong={}\nanswered={}", allowed.into_inner(), wrong.into_inner(), answered.into_inner());
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let timeout = Duration::from_millis(arguments[2].parse().unwrap());
    let mut client = Client::new(&arguments[1], timeout);
    let mut standing = None;
    println!("init=0\n");
    loop {
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line).unwrap() == 0 {
            return;
        }
        let mut words: Vec<String> = line.split_whitespace().map(String::from).collect();
        let command = words.remove(0);
        let mut v: Vec<Option<Vec<u8>>> = words.iter().map(|w| value(Some(w))).collect();
        let targets: Vec<Vec<u8>> = v.iter().skip(4).flatten().cloned().collect();
        let targets: Vec<&[u8]> = targets.iter().map(|t| t.as_slice()).collect();
        v.resize(v.len().max(6), None);
        let at = |i: usize| v[i].as_deref();
        let number = |i: usize| words[i].parse::<usize>().unwrap();
        match command.as_str() {
            "decide" => show(&client.decide(&Request {
                method: at(0).unwrap(),
                target: at(1).unwrap(),
                authorization: at(2),
                upgrade: at(3),
            })),
            "decide-all" => show(&client.decide_all(&targets, at(2), at(3))),
            "watch" => {
                let (reply, watch) = client.watch(&targets, at(2), at(3));
                show(&reply);
                standing = watch;
            }
            "turned" => {
                show(&standing.take().unwrap().turned(Duration::from_millis(number(0) as u64)));
            }
            "verify" => show(&client.verify(at(0))),
            "resource" if words[0] == "1" || words[0] == "2" => {
                let access = if words[0] == "1" { Access::Read } else { Access::Write };
                show(&client.resource(at(1).unwrap(), at(2).unwrap(), access, at(3)));
            }
            "control" if words[0] == "1" || words[0] == "2" => {
                let text = |i: usize| at(i).map(|b| String::from_utf8(b.to_vec()).unwrap());
                let mut commands = Vec::new();
                for i in (3..words.len()).step_by(5) {
                    let decimal = |i: usize| text(i).unwrap().parse::<u32>().unwrap();
                    let (method, role) = ((decimal(i + 2), decimal(i + 3)), text(i + 4).unwrap());
                    commands.push(match method {
                        (0, 0) => Command::subscription(&role),
                        _ => Command::method(decimal(i), text(i + 1).as_deref(), method, &role),
                    });
                }
                let api = if words[0] == "1" { Api::Control } else { Api::Configuration };
                show(&client.control(api, at(1), &mut commands, at(2)));
                println!("statuses={}", commands.iter().map(|c| c.status().to_string()).collect::<Vec<_>>().join(" "));
            }
            "token" => {
                let (reply, token) = client.token(at(0).unwrap(), at(1));
                show(&reply);
                put("access-token", token.as_ref().map(|t| t.value()));
                put("token-scope", token.as_ref().map(|t| t.scope.as_str()));
                put("token-id", token.as_ref().map(|t| t.id.as_str()));
            }
            "ping" => println!("error={}", client.ping() as u8),
            "timeout" => client.timeout = Duration::from_millis(number(0) as u64),
            "threads" => threads(&arguments[1], timeout, number(0), number(1) / 2, &v),
            // A resource's access and a command's API that are neither cannot be written in Rust.
            "resource" | "control" => {
                let none = vec!["503"; words.len().saturating_sub(3) / 5].join(" ");
                println!("decision=deny\nstatus=500\nerror=1\nexpires-in=-1\nretry-after=-1\nstatuses={}", none);
            }
            other => panic!("unknown command {}", other),
        }
        println!();
        io::stdout().flush().unwrap();
    }
}

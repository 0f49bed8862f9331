//! A model behind OpenAI's chat interface: how requests get there, several at a time and again after a failure, and how
//! answers come back. What requests and answers say is in `chat_completions`.

use super::chat_completions::{
    answer, chosen, first_token_request, first_tokens, request, said, shortened, untrainable,
};
use framework::context::Context;
use framework::error::{Error, Result};
use framework::language::{Decoding, Example, Generation, Model, Prompt, Tuning};
use framework::rng::Rng;
use framework::roles::LanguageModel;
use framework::toml::Table;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use ureq::Agent;
use ureq::http::{HeaderMap, HeaderValue};

framework::plugin! {
    /// A model that a server with OpenAI's chat interface writes with: vLLM, llama.cpp, Ollama and others.
    ///
    /// Requests that the server is too busy for, loses or garbles are sent again, later each time. An answer's likelihood
    /// is that of its first token, or an upper bound where that is not among the 20 likeliest: the least of theirs. So
    /// answers must begin differently. A served model cannot be trained.
    ///
    /// `top_k` and `repetition_penalty` are sent only where the decoding sets them, since OpenAI refuses them. Elsewhere
    /// the server's defaults hold, such as llama.cpp's `top_k` of 40, unless `extra` says otherwise.
    pub struct OpenAi: LanguageModel = "openai" {
        /// The server's address up to and without `/chat/completions`, as in `http://127.0.0.1:8080/v1`.
        url: String,
        /// The name that the server knows the model by.
        model: String,
        /// A word for the weights that are served. It is part of the model's identity, which the address is not.
        revision: String = String::new(),
        /// Fields added to each request, as in `{ min_p = 0.0, chat_template_kwargs = { enable_thinking = false } }`.
        extra: Table = Table::new(),
        /// The environment variable that holds the server's key; when it is not set, none is sent.
        api_key_env: String = "OPENAI_API_KEY".into(),
        /// Requests at a time.
        #[range(1..=1024)]
        concurrency: usize = 8,
        /// The most requests begun within a minute; 0 means any number.
        #[range(0..=1_000_000)]
        requests_per_minute: usize = 0,
        /// Seconds after which a request is given up and sent again.
        #[range(0.1..=86_400.0)]
        timeout: f64 = 120.0,
        /// How often a request is sent again; the pauses begin at up to half a second and double.
        #[range(0..=100)]
        retries: usize = 6,
    }
    check |settings, report| {
        if !settings.url.starts_with("http://") && !settings.url.starts_with("https://") {
            report.conflict(
                "url",
                format!("`{}` is not a server's address", settings.url),
                "an address such as http://127.0.0.1:8080/v1",
            );
        }
    }
}

impl LanguageModel for OpenAi {
    fn open(&self, _texts: &[String], _cx: &Context) -> Result<Arc<dyn Model>> {
        let key = std::env::var(&self.api_key_env).unwrap_or_default().trim().to_string();
        let bearer = HeaderValue::try_from(format!("Bearer {key}"));
        let mut bearer =
            bearer.map_err(|_| Error::new("the key cannot be sent").at(&self.api_key_env).fix("plain text"))?;
        bearer.set_sensitive(true);
        let timeout = Duration::from_secs_f64(self.timeout);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(self.concurrency)
            .max_idle_connections_per_host(self.concurrency)
            .timeout_connect(Some(timeout.min(Duration::from_secs(10))))
            .timeout_global(Some(timeout));
        Ok(Arc::new(Served {
            endpoint: format!("{}/chat/completions", self.url.trim_end_matches('/')),
            agent: config.build().new_agent(),
            key: (!key.is_empty()).then_some((key, bearer)),
            pause: match self.requests_per_minute {
                0 => Duration::ZERO,
                most => Duration::from_secs(60) / most as u32,
            },
            next: Mutex::new(Instant::now()),
            settings: self.clone(),
        }))
    }
}

/// A server that is talked to.
struct Served {
    settings: OpenAi,
    endpoint: String,
    agent: Agent,
    /// The key and the header that it is sent in.
    key: Option<(String, HeaderValue)>,
    /// The least time between the beginnings of two requests.
    pause: Duration,
    /// When the next request may begin.
    next: Mutex<Instant>,
}

/// Why a request was not answered.
struct Failure {
    what: String,
    remedy: String,
    /// Whether the same request may yet be answered.
    passing: bool,
    /// How long the server asks to be left alone.
    wait: Duration,
}

impl Served {
    /// Sends `request` until it is answered; gives the answer as it came and as it reads.
    fn ask(&self, request: &Value, stop: &AtomicBool) -> Result<(Value, Generation)> {
        let request = request.to_string();
        let mut rng = Rng::new(0, &request);
        let mut failures = 0;
        loop {
            self.wait_for_turn(stop)?;
            let Failure { what, remedy, passing, wait } = match self.ask_once(&request) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if !passing || failures == self.settings.retries {
                let tries = if failures > 0 { format!(", after {} tries", failures + 1) } else { String::new() };
                return Err(Error::new(format!("{what}{tries}")).at(&self.endpoint).fix(remedy));
            }
            let now = Instant::now();
            {
                let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
                *next = (*next).max(now + wait);
            }
            // The random part keeps requests that failed together from failing together again.
            let pause = 0.5 * f64::powi(2.0, failures.min(7) as i32) * (0.5 + 0.5 * rng.uniform());
            failures += 1;
            let seconds = wait.as_secs_f64().max(pause);
            tracing::warn!("asking again in {seconds:.1} s: {what}");
            sleep_until(now + Duration::from_secs_f64(pause), stop)?;
        }
    }

    /// Takes the next moment at which a request may begin, and waits for it.
    fn wait_for_turn(&self, stop: &AtomicBool) -> Result<()> {
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(Instant::now());
            *next = turn + self.pause;
            turn
        };
        sleep_until(turn, stop)
    }

    fn ask_once(&self, request: &str) -> std::result::Result<(Value, Generation), Failure> {
        let mut post = self.agent.post(&self.endpoint).content_type("application/json");
        if let Some((_, bearer)) = &self.key {
            post = post.header("Authorization", bearer.clone());
        }
        let response = post.send(request).and_then(|mut response| {
            let body = response.body_mut().read_to_vec()?;
            Ok((response.status().as_u16(), retry_after(response.headers()), body))
        });
        let (status, wait, body) = response.map_err(|error| self.unanswered(&error))?;
        if status == 200 {
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            if let Some(answer) = answer(&body) {
                return Ok((body, answer));
            }
        }
        // Some servers quote the key that they refuse, perhaps with JSON's escapes.
        let hide = |text: String| match &self.key {
            Some((key, _)) => text.replace(key, "[key]"),
            None => text,
        };
        let text = hide(String::from_utf8_lossy(&body).into_owned());
        let what = match status {
            200 => format!("the server's answer is no chat completion: {}", shortened(&text)),
            _ => hide(format!("the server answered with HTTP status {status}: {}", said(&text))),
        };
        let remedy = match status {
            401 | 403 => format!("the server's key in the environment variable {}", self.settings.api_key_env),
            429 => "a smaller `concurrency`, or `requests_per_minute` as the server allows".into(),
            200 | 500.. => "the server's log may tell more; the same command goes on where this one stopped".into(),
            _ => "`model` and `url` as the server has them".into(),
        };
        Err(Failure { what, remedy, passing: matches!(status, 200 | 408 | 425 | 429 | 500..), wait })
    }

    fn unanswered(&self, error: &ureq::Error) -> Failure {
        use std::io::ErrorKind as Kind;
        use ureq::{Error as E, Timeout};
        let (what, remedy) = match error {
            E::Timeout(timeout) if !matches!(timeout, Timeout::Connect | Timeout::Resolve) => (
                format!("the server gave no answer within {} s", self.settings.timeout),
                "a longer `timeout`, or less at once: `concurrency`, `max_tokens`",
            ),
            E::Io(io) if matches!(io.kind(), Kind::UnexpectedEof | Kind::ConnectionReset | Kind::BrokenPipe) => (
                format!("the server broke off: {io}"),
                "the server's log may tell more; the same command goes on where this one stopped",
            ),
            _ => (
                format!("the server cannot be reached: {error}"),
                "a running server, and its address as `url`; the same command goes on where this one stopped",
            ),
        };
        let passing = !matches!(error, E::BadUri(_) | E::Http(_) | E::InvalidProxyUrl | E::Tls(_) | E::Rustls(_));
        Failure { what, remedy: remedy.into(), passing, wait: Duration::ZERO }
    }

    /// Does `ask` for all of `0..count`, several at a time, and hands over what comes of each on this thread.
    ///
    /// After an error nothing new begins, but what was under way is waited for and handed over: it has been paid for.
    fn each<T: Send>(
        &self,
        count: usize,
        cx: &Context,
        ask: impl Fn(usize, &AtomicBool) -> Result<T> + Sync,
        mut done: impl FnMut(usize, T) -> Result<()>,
    ) -> Result<()> {
        let (stop, next, ask) = (&AtomicBool::new(false), &AtomicUsize::new(0), &ask);
        let (give, take) = channel();
        thread::scope(|scope| {
            for _ in 0..self.settings.concurrency.min(count) {
                let give = give.clone();
                scope.spawn(move || {
                    while !stop.load(SeqCst) {
                        let place = next.fetch_add(1, SeqCst);
                        if place >= count {
                            break;
                        }
                        let outcome = ask(place, stop);
                        let failed = outcome.is_err();
                        // Before the others are told to stop, so that theirs are not the first errors.
                        let _ = give.send((place, outcome));
                        stop.fetch_or(failed, SeqCst);
                    }
                });
            }
            drop(give);
            let mut result = Ok(());
            loop {
                let now = match take.recv_timeout(Duration::from_millis(100)) {
                    Ok((place, outcome)) => outcome.and_then(|outcome| done(place, outcome)),
                    Err(RecvTimeoutError::Timeout) => Ok(()),
                    Err(RecvTimeoutError::Disconnected) => return result,
                };
                if let Err(error) = now.and_then(|()| cx.proceed()) {
                    stop.store(true, SeqCst);
                    result = result.and(Err(error));
                }
            }
        })
    }
}

impl Model for Served {
    fn identity(&self) -> Value {
        let OpenAi { model, revision, extra, .. } = &self.settings;
        json!({ "plugin": "openai", "model": model, "revision": revision, "extra": extra })
    }

    fn generate(
        &self,
        prompts: &[Prompt],
        decoding: &Decoding,
        seed: u64,
        cx: &Context,
        done: &mut dyn FnMut(usize, Generation) -> Result<()>,
    ) -> Result<()> {
        let bar = cx.bar("generating", prompts.len());
        let (started, mut tokens) = (Instant::now(), 0);
        let OpenAi { model, extra, .. } = &self.settings;
        let ask = |place: usize, stop: &AtomicBool| {
            let (_, answer) = self.ask(&request(model, &prompts[place], decoding, seed, extra), stop)?;
            chosen(answer, decoding).map_err(|error| error.at(&self.endpoint))
        };
        self.each(prompts.len(), cx, ask, |place, answer| {
            tokens += answer.tokens;
            bar.advance(1);
            bar.say(format!("{:.0} tokens/s", tokens as f64 / started.elapsed().as_secs_f64()));
            done(place, answer)
        })
    }

    fn score(&self, groups: &[Vec<Prompt>], answers: &[String], cx: &Context) -> Result<Vec<Vec<Vec<f64>>>> {
        let prompts: Vec<&Prompt> = groups.iter().flatten().collect();
        let bar = cx.bar("scoring", prompts.len());
        let OpenAi { model, extra, .. } = &self.settings;
        let ask = |place: usize, stop: &AtomicBool| {
            let (body, said) = self.ask(&first_token_request(model, prompts[place], extra), stop)?;
            cx.spend(|cost| cost.tokens_read += said.prompt_tokens as u64);
            first_tokens(&body, answers).map_err(|error| error.at(&self.endpoint))
        };
        let mut scores = vec![Vec::new(); prompts.len()];
        self.each(prompts.len(), cx, ask, |place, score| {
            bar.advance(1);
            scores[place] = score;
            Ok(())
        })?;
        let mut scores = scores.into_iter();
        Ok(groups.iter().map(|group| scores.by_ref().take(group.len()).collect()).collect())
    }

    fn tune(
        &self,
        _groups: &[Vec<Example>],
        _tuning: &Tuning,
        _validate: &dyn Fn(Arc<dyn Model>) -> Result<f64>,
        _cx: &Context,
    ) -> Result<Arc<dyn Model>> {
        Err(untrainable())
    }

    fn save(&self, _folder: &Path) -> Result<()> {
        Err(untrainable())
    }

    fn load(&self, _folder: &Path, _cx: &Context) -> Result<Arc<dyn Model>> {
        Err(untrainable())
    }
}

/// An error once `stop` is set, be it before `moment` or after.
fn sleep_until(moment: Instant, stop: &AtomicBool) -> Result<()> {
    loop {
        if stop.load(SeqCst) {
            return Err(Error::new("stopped"));
        }
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// The seconds of a `Retry-After`, a day at most; none where there is none or it is a date.
fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get("Retry-After").and_then(|value| value.to_str().ok()?.trim().parse::<u32>().ok());
    Duration::from_secs(u64::from(seconds.unwrap_or(0).min(86_400)))
}

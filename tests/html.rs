//! The report's page, clicked through in a headless Chromium; skipped where there is none.

use crate::program::{Program, SMALL};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A Chromium that is spoken to over pipes, in the words of the Chrome DevTools Protocol.
struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    last: u64,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The browser's program, if there is one; says so when a test is skipped.
fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("ABLATE_CHROMIUM").map(PathBuf::from).filter(|path| path.is_file());
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let found = named.or_else(|| found.into_iter().find(|path| path.is_file()));
    if found.is_none() {
        eprintln!("skipped: there is no chromium, and ABLATE_CHROMIUM names none");
    }
    found
}

impl Browser {
    fn open(program: &Path, profile: &Path, page: &Path) -> Self {
        // The protocol wants file descriptors 3 and 4; the shell puts our pipes there.
        let script = "exec \"$0\" --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
            --disable-background-networking --remote-debugging-pipe --user-data-dir=\"$1\" 3<&0 4>&1 0</dev/null 1>/dev/null 2>&1";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .args([program, profile])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let (to, from) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let mut browser = Self { child, to, from: BufReader::new(from), session: None, last: 0 };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.ask("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().map(String::from);
        browser.ask("Page.enable", json!({}));
        browser.ask("Page.navigate", json!({ "url": format!("file://{}", page.display()) }));
        browser.wait_for("document.readyState === 'complete' && location.protocol === 'file:'");
        browser
    }

    /// Sends a command and gives its answer; events in between are passed over.
    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("the browser listens");
        loop {
            let mut answer = Vec::new();
            self.from.read_until(0, &mut answer).expect("the browser answers");
            assert_eq!(answer.pop(), Some(0), "the browser went away at {method}");
            let answer: Value = serde_json::from_slice(&answer).expect("JSON");
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
        }
    }

    /// The value of an expression in the page.
    fn value(&mut self, expression: &str) -> Value {
        let ask = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.ask("Runtime.evaluate", ask);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    fn wait_for(&mut self, condition: &str) {
        for _ in 0..200 {
            if self.value(condition) == true {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        panic!("never came true: {condition}");
    }

    /// Presses the mouse in the middle of an element.
    fn click(&mut self, selector: &str) {
        let quoted = json!(selector);
        let place = self.value(&format!(
            "(() => {{ const e = document.querySelector({quoted}); e.scrollIntoView({{ block: 'center', inline: 'center' }}); \
             const r = e.getBoundingClientRect(); return [r.x + Math.min(r.width / 2, 40), r.y + r.height / 2]; }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
            self.ask("Input.dispatchMouseEvent", event);
        }
    }

    fn resize(&mut self, width: u32, height: u32, scheme: &str) {
        let mobile = width < 600;
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.ask("Emulation.setDeviceMetricsOverride", size);
        let feature = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.ask("Emulation.setEmulatedMedia", json!({ "features": feature }));
        self.wait_for(&format!("innerWidth === {width} && matchMedia('(prefers-color-scheme: {scheme})').matches"));
    }

    /// Leaves a picture of the whole page in the folder that `ABLATE_SCREENSHOTS` names, if it does.
    fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("ABLATE_SCREENSHOTS") else { return };
        self.value("scrollTo(0, 0)");
        let answer = self.ask("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
        let text = answer["data"].as_str().expect("a picture");
        let mut decoder =
            Command::new("base64").arg("-d").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("base64");
        let mut input = decoder.stdin.take().expect("a pipe");
        let (text, mut bytes) = (text.to_string(), Vec::new());
        let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
        decoder.stdout.take().expect("a pipe").read_to_end(&mut bytes).expect("bytes");
        writer.join().expect("a writer").expect("written");
        decoder.wait().expect("base64");
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), bytes).expect("a picture's file");
    }
}

/// Texts with too little contrast, and texts that are too small: what each is, and by how much.
const UNREADABLE: &str = r"(() => {
  const parse = c => { const n = c.match(/[\d.]+/g).map(Number); return { rgb: n.slice(0, 3), a: n.length > 3 ? n[3] : 1 }; };
  const light = rgb => rgb.map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [.2126, .7152, .0722][n], 0);
  const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.a > 0) return c.rgb; } return [255, 255, 255]; };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), e = walker.currentNode.parentElement;
    if (!text || ['SCRIPT', 'STYLE', 'title', 'desc'].includes(e.tagName) || !e.getClientRects().length) continue;
    const style = getComputedStyle(e), drawn = e instanceof SVGElement;
    const [a, b] = [light(parse(drawn ? style.fill : style.color).rgb), light(behind(e))].sort((x, y) => y - x);
    const contrast = (a + .05) / (b + .05), size = parseFloat(style.fontSize) * (drawn ? e.getScreenCTM().a : 1);
    if (contrast < 4.5) found.push('contrast ' + contrast.toFixed(2) + ': ' + text.slice(0, 40));
    if (size < 12) found.push('size ' + size.toFixed(1) + ': ' + text.slice(0, 40));
  }
  return found.join('\n');
})()";

/// Plots in which two texts lie over each other, or one lies outside.
const COLLISIONS: &str = r"(() => {
  const found = [];
  for (const svg of document.querySelectorAll('figure svg')) {
    const frame = svg.getBoundingClientRect();
    const boxes = [...svg.querySelectorAll('text')].map(t => [t.getBoundingClientRect(), t.textContent]);
    boxes.forEach(([a, words], n) => {
      if (a.left < frame.left - 1 || a.right > frame.right + 1) found.push('outside: ' + words);
      boxes.slice(n + 1).forEach(([b, other]) => {
        if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3) found.push(words + ' over ' + other);
      });
    });
  }
  return found.join('\n');
})()";

/// A report's page with everything in it.
pub(crate) fn check_page(name: &str, page: &Path, profile: &Path) {
    let Some(chromium) = chromium() else { return };
    let mut browser = Browser::open(&chromium, profile, page);
    for (width, height) in [(390, 844), (1280, 900)] {
        for scheme in ["light", "dark"] {
            browser.resize(width, height, scheme);
            browser.value("document.querySelectorAll('details').forEach(one => one.open = true)");
            let overflow = browser.value("document.documentElement.scrollWidth - innerWidth");
            assert!(overflow.as_f64() <= Some(0.0), "at {width} px the page is {overflow} px too wide");
            let narrow = "[...document.querySelectorAll('th')].filter(e => e.getBoundingClientRect().width < 60).map(e => e.innerText).join()";
            assert_eq!(browser.value(narrow), "", "{width} px: headings are squeezed");
            assert_eq!(browser.value(UNREADABLE), "", "{width} px, {scheme}");
            assert_eq!(browser.value(COLLISIONS), "", "{width} px, {scheme}");
            browser.value("document.querySelectorAll('details').forEach(one => one.open = false)");
            browser.picture(&format!("{name}-{width}-{scheme}"));
        }
    }
    assert_eq!(browser.value("performance.getEntriesByType('resource').length"), 0, "the page loads something");
    let unnamed = "[...document.querySelectorAll('figure svg')].filter(e => !e.getAttribute('aria-label') || !e.querySelector('title')).length \
        + [...document.querySelectorAll('table')].filter(e => !e.caption).length";
    assert_eq!(browser.value(unnamed), 0, "plots and tables without a name");

    // The toggle beats the system, both ways, and says what it does.
    browser.resize(390, 844, "dark");
    let background = "getComputedStyle(document.body).backgroundColor";
    let dark = browser.value(background);
    browser.click("#theme");
    let light = browser.value(background);
    assert_ne!(dark, light);
    assert_eq!(browser.value("document.querySelector('#theme').getAttribute('aria-pressed')"), "false");
    browser.resize(390, 844, "light");
    browser.click("#theme");
    assert_eq!(browser.value(background), dark);
    assert_eq!(browser.value("document.querySelector('#theme').getAttribute('aria-label')"), "Use light colors");

    // A run's id leads to its plan; a click on its headline closes it again.
    assert_eq!(browser.value("document.querySelectorAll('details[open]').length"), 0);
    browser.click("td a");
    browser.wait_for("document.querySelectorAll('details[open]').length === 1");
    let open = browser.value("document.querySelector('details[open]').innerText");
    let open = open.as_str().expect("text");
    assert!(open.contains("[recommender]") && open.contains("cargo_lock") && open.contains("trials"), "{open}");
    let overflow = browser.value("document.documentElement.scrollWidth - innerWidth");
    assert!(overflow.as_f64() <= Some(0.0), "with a run open the page is {overflow} px too wide");
    browser.picture(&format!("{name}-run"));
    browser.click("details[open] summary");
    browser.wait_for("document.querySelectorAll('details[open]').length === 0");
    browser.click("nav a[href='#training']");
    browser.wait_for("Math.abs(document.querySelector('#training').getBoundingClientRect().top) < innerHeight");

    // Printed, every run is open, and closed again afterwards.
    browser.value("dispatchEvent(new Event('beforeprint'))");
    assert_eq!(browser.value("document.querySelectorAll('details:not([open])').length"), 0);
    browser.value("dispatchEvent(new Event('afterprint'))");
    assert_eq!(browser.value("document.querySelectorAll('details[open]').length"), 0);
    let paper = browser.ask("Page.printToPDF", json!({}));
    assert!(paper["data"].as_str().is_some_and(|text| text.len() > 10_000), "the page cannot be printed");
}

#[test]
fn the_page_needs_nothing_else_and_can_be_clicked_through() {
    let program = Program::new();
    let text = SMALL
        .replace("name = \"small\"", "name = \"small <b>&\"\ndescription = \"A <script>alert(1)</script> in words.\"");
    let spec = program.file("small.toml", &text.replace("[dataset]", "seeds = [1, 2]\n[dataset]"));
    program.ok(&["run", &spec]);
    let page = program.path("report.html");
    let ran = program.ok(&["report", &spec, "--format", "html", "--output", &page.display().to_string()]);
    assert_eq!(ran.out, "");
    let text = std::fs::read_to_string(&page).expect("the page");
    assert_eq!(program.ok(&["report", &spec, "--format", "html"]).out.trim_end(), text.trim_end());
    for outside in ["http:", "https:", "src=", "@import", "url(", "<link", "<script>alert"] {
        assert!(!text.contains(outside), "the page holds {outside}");
    }
    assert!(text.contains("small &lt;b&gt;&amp;") && text.contains("id=\"strata\""));
    check_page("small", &page, &program.path("profile"));
}

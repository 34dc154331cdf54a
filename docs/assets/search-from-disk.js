// The search runs in a worker, which browsers refuse to a page that was opened from a folder. There it runs in a hidden
// frame with a worker's manners: Material's search looks for `IFrameWorker` and then takes its paths from the script's own.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    #ready

    constructor(address) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      frame.srcdoc = `<!doctype html><body><script src="${address}"></script></body>`
      this.#ready = new Promise((done) => frame.addEventListener("load", () => done(frame.contentWindow)))
      document.documentElement.appendChild(frame)
      this.#ready.then((inside) => {
        inside.postMessage = (data) => deliver(this, data)
        inside.importScripts = (...addresses) => Promise.all(addresses.map((src) => load(inside.document, src)))
      })
    }

    postMessage(data) {
      this.#ready.then((inside) => deliver(inside, data))
    }
  }
}

// Later, as between a page and a worker: who sends may not be listening yet.
function deliver(to, data) {
  setTimeout(() => to.dispatchEvent(new MessageEvent("message", { data })))
}

function load(page, src) {
  return new Promise((done, failed) => {
    const script = Object.assign(page.createElement("script"), { src, async: false, onload: done, onerror: failed })
    page.body.appendChild(script)
  })
}

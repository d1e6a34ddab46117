// What one can press: mouse, fingers, keys, buttons, and the frames of a sequence.

class View extends Stage {
  listen() {
    this.controls();
    const touching = new Map();
    const at = event => {
      const corner = this.stage.getBoundingClientRect();
      return [event.clientX - corner.left, event.clientY - corner.top];
    };
    const middle = () => {
      const points = [...touching.values()], n = points.length;
      const x = points.reduce((sum, p) => sum + p[0], 0) / n, y = points.reduce((sum, p) => sum + p[1], 0) / n;
      return {x, y, reach: n > 1 ? Math.hypot(points[0][0] - points[1][0], points[0][1] - points[1][1]) : 0};
    };
    this.stage.addEventListener("pointerdown", event => {
      if (touching.size === 0) this.root.focus({preventScroll: true});
      touching.set(event.pointerId, at(event));
      this.stage.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    this.stage.addEventListener("pointermove", event => {
      if (!touching.has(event.pointerId)) return;
      const before = middle();
      touching.set(event.pointerId, at(event));
      const now = middle(), dx = now.x - before.x, dy = now.y - before.y;
      if (touching.size > 1) {
        if (before.reach > 0) this.approach(now.reach / before.reach, now.x, now.y);
        this.pan(dx, dy);
      } else if (event.shiftKey || (event.buttons & 6)) this.pan(dx, dy);
      else if (dx || dy) this.turn(-0.007 * dx, -0.007 * dy);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.stage.addEventListener(end, event => touching.delete(event.pointerId));
    }
    this.stage.addEventListener("contextmenu", event => event.preventDefault());
    this.stage.addEventListener("dblclick", () => this.reset());
    this.stage.addEventListener("wheel", event => {
      event.preventDefault();
      this.approach(Math.exp(-0.0015 * event.deltaY * (event.deltaMode ? 20 : 1)), ...at(event));
    }, {passive: false});
    this.root.addEventListener("keydown", event => this.key(event));
  }

  key(event) {
    const on = event.target;
    if (event.ctrlKey || event.altKey || event.metaKey || on.type === "range" || (event.key === " " && on !== this.root)) {
      return;
    }
    const {width, height} = this.frame(), step = 0.12;
    const moves = {
      ArrowLeft: () => this.turn(step, 0), ArrowRight: () => this.turn(-step, 0),
      ArrowUp: () => this.turn(0, -step), ArrowDown: () => this.turn(0, step),
      "+": () => this.approach(1.15, width / 2, height / 2), "-": () => this.approach(1 / 1.15, width / 2, height / 2),
      c: () => this.lookThrough(), f: () => this.lookFrom("front"), s: () => this.lookFrom("side"),
      b: () => this.lookFrom("back"), t: () => this.lookFrom("top"), r: () => this.reset(),
      " ": () => this.toggle && this.toggle(), ",": () => this.go && this.go(this.moment - 1),
      ".": () => this.go && this.go(this.moment + 1),
    };
    const move = moves[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!move) return;
    move();
    event.preventDefault();
  }

  reset() {
    for (const box of this.root.querySelectorAll("input[type=checkbox]")) {
      if (box.checked !== box.defaultChecked) box.click();
    }
    this.slider.value = 1;
    this.slider.oninput();
    this.lookThrough();
  }

  controls() {
    const bar = made("div", {className: "v3d-bar"}), views = made("div", {className: "v3d-bar"});
    this.buttons = {};
    const looks = [["camera", "Camera", "As the camera saw it (c)", () => this.lookThrough()],
      ["front", "Front", "The person's front (f)", () => this.lookFrom("front")],
      ["side", "Side", "The person's left (s)", () => this.lookFrom("side")],
      ["back", "Back", "The person's back (b)", () => this.lookFrom("back")],
      ["top", "Top", "From above (t)", () => this.lookFrom("top")],
      ["reset", "Reset", "Everything as at first (r)", () => this.reset()]];
    for (const [name, text, title, onclick] of looks) {
      this.buttons[name] = made("button", {type: "button", textContent: text, title, onclick});
      views.append(this.buttons[name]);
    }
    const box = (text, checked, color, change) => {
      const input = made("input", {type: "checkbox", checked, defaultChecked: checked});
      input.onchange = () => { change(input.checked); this.draw(); };
      const mark = color ? [Object.assign(made("i"), {style: `background:${color}`})] : [];
      bar.append(made("label", {}, input, ...mark, text));
    };
    const several = this.people.length > 1;
    for (const person of this.people) {
      const {name, color} = person.data;
      const who = several ? `${name}: ` : "";
      if (several) {
        box(name, true, color, on => {
          person.hidden = !on;
          person.figure.object.visible = on && person.rows.has(this.moment);
        });
      }
      for (const other of person.others) {
        box(who + other.label, false, other.color, on => { other.figure.object.visible = on; });
      }
      if (person.data.samples) {
        const count = floats(person.data.samples.transl).length / 3;
        box(`${who}${count} likely bodies at random`, false, SAMPLE, on => {
          for (const figure of person.samples || this.samplesOf(person)) figure.object.visible = on;
        });
      }
    }
    if (this.people.some(({data}) => data.samples || data.others.length)) {
      box("put together at the pelvis", true, "", on => { this.wants.together = on; });
    }
    if (this.backdrop) box("photograph", true, "", on => { this.wants.photograph = on; });
    box("floor, squares of 1 m", true, "", on => { this.wants.floor = on; });
    box("camera", true, "", on => { this.wants.camera = on; });
    this.slider = made("input", {type: "range", min: 0.05, max: 1, step: 0.05, value: 1});
    this.slider.oninput = () => {
      for (const {figure} of this.people) figure.material.opacity = Number(this.slider.value);
      this.draw();
    };
    bar.append(made("label", {}, "opacity", this.slider));
    this.root.append(views);
    if (this.scene.moments > 1) this.timeline();
    const note = "Drag to turn, wheel or two fingers to come nearer, right button or two fingers to move; keys: arrows, "
      + "+ −, c f s b t r" + (this.scene.moments > 1 ? ", space, comma and full stop for single frames" : "") + ". ";
    this.root.append(bar, made("p", {className: "v3d-note", textContent: note + this.scene.note}));
  }

  timeline() {
    const {moments, fps, labels} = this.scene, bar = made("div", {className: "v3d-bar"});
    const play = made("button", {type: "button", textContent: "▶ Play", title: "Play at the true rate (space)"});
    const slide = made("input", {type: "range", className: "v3d-time", min: 0, max: moments - 1, step: 1, value: 0});
    slide.setAttribute("aria-label", "frame");
    const text = made("output");
    const show = () => {
      slide.value = this.moment;
      text.textContent = `${(this.moment / fps).toFixed(2)} s, frame ${labels ? labels[this.moment] : this.moment}`;
      this.draw();
    };
    const video = this.scene.video ? this.backdrop : null;
    this.go = moment => {
      this.stop();
      this.seek(Math.min(moments - 1, Math.max(0, moment)));
      if (video) video.currentTime = (this.moment + 0.5) / fps;
      show();
    };
    this.stop = () => {
      cancelAnimationFrame(this.playing);
      this.playing = 0;
      if (video) video.pause();
      play.textContent = "▶ Play";
    };
    this.toggle = () => {
      if (this.playing) return this.stop();
      play.textContent = "❚❚ Pause";
      const first = this.moment >= moments - 1 ? 0 : this.moment, began = performance.now();
      if (video) {
        video.currentTime = first / fps;
        video.play();
      }
      const tick = now => {
        const moment = video ? Math.floor(video.currentTime * fps) : first + Math.floor((now - began) * fps / 1000);
        this.seek(moment >= moments ? (video ? moments - 1 : moment % moments) : Math.max(0, moment));
        show();
        if (video && video.ended) return this.stop();
        this.playing = requestAnimationFrame(tick);
      };
      this.playing = requestAnimationFrame(tick);
    };
    play.onclick = () => this.toggle();
    slide.oninput = () => this.go(Number(slide.value));
    bar.append(play, slide, text);
    this.root.append(bar);
    show();
  }

  close() {
    if (this.stop) this.stop();
    cancelAnimationFrame(this.asked);
    this.resized.disconnect();
    this.renderer.dispose();
    this.renderer.forceContextLoss();
    this.root.remove();
  }
}

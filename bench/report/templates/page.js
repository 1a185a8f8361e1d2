(function () {
  "use strict";
  var tip = document.getElementById("tip");
  function all(selector, root) { return Array.prototype.slice.call((root || document).querySelectorAll(selector)); }

  // ---- hover and focus: the numbers of a marker, or of the nearest vertex of a line
  function show(text, x, y) {
    tip.textContent = text;
    tip.hidden = false;
    var box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 14, window.innerWidth - box.width - 4)) + "px";
    tip.style.top = (y + box.height + 24 > window.innerHeight ? Math.max(4, y - box.height - 12) : y + 14) + "px";
  }
  function hide() {
    tip.hidden = true;
    all(".near").forEach(function (ring) { ring.remove(); });
    all(".pt.on").forEach(function (mark) { mark.classList.remove("on"); });
  }
  function vertices(path) {
    if (!path.vertices) {
      var at = [0, 0]; // a start and steps
      path.vertices = (path.getAttribute("d").match(/-?[\d.]+ -?[\d.]+/g) || []).map(function (pair) {
        var step = pair.split(" ").map(Number);
        at = [at[0] + step[0], at[1] + step[1]];
        return at;
      });
      path.told = path.dataset.told ? path.dataset.told.split("|") : [];
    }
    return path.vertices;
  }
  function value(svg, axis, place) {
    var range = svg.dataset[axis].split(" ").map(Number), box = svg.dataset.box.split(" ").map(Number);
    var share = axis === "x" ? (place - box[0]) / (box[2] - box[0]) : (box[3] - place) / (box[3] - box[1]);
    return (range[0] + share * (range[1] - range[0])).toPrecision(4);
  }
  function nearest(svg, event) {
    var matrix = svg.getScreenCTM();
    if (!matrix) { return null; }
    var at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse()), best = null;
    var box = svg.dataset.box.split(" ").map(Number);
    all("path.ln", svg).forEach(function (path) {
      if (path.classList.contains("off")) { return; }
      vertices(path).forEach(function (v, k) {
        if (v[1] > box[3] || v[0] > box[2] || v[1] < box[1]) { return; } // cut off
        var distance = Math.hypot(v[0] - at.x, v[1] - at.y);
        if (distance < 26 && (!best || distance < best.distance)) { best = { distance: distance, path: path, k: k, v: v }; }
      });
    });
    return best;
  }
  all("svg.chart").forEach(function (svg) {
    svg.addEventListener("pointermove", function (event) {
      hide();
      var mark = event.target.closest("[aria-label].pt");
      if (mark) { mark.classList.add("on"); show(mark.getAttribute("aria-label"), event.clientX, event.clientY); return; }
      var found = nearest(svg, event);
      if (!found) { return; }
      var ring = document.createElementNS("http://www.w3.org/2000/svg", "circle");
      ring.setAttribute("class", "near");
      ring.setAttribute("cx", found.v[0]);
      ring.setAttribute("cy", found.v[1]);
      ring.setAttribute("r", 4);
      svg.appendChild(ring);
      var lines = [found.path.dataset.series, svg.dataset.yn + " " + value(svg, "y", found.v[1]), svg.dataset.xn + " " + value(svg, "x", found.v[0])];
      if (found.path.told[found.k + 1]) { lines.push(found.path.told[0] + found.path.told[found.k + 1]); } // how all begin, then each
      show(lines.join("\n"), event.clientX, event.clientY);
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("focusin", function (event) {
      var mark = event.target.closest("[aria-label].pt");
      if (mark) { var box = mark.getBoundingClientRect(); hide(); mark.classList.add("on"); show(mark.getAttribute("aria-label"), box.right, box.bottom); }
    });
    svg.addEventListener("focusout", hide);
  });
  document.addEventListener("keydown", function (event) { if (event.key === "Escape") { hide(); } });
  ["wheel", "touchmove"].forEach(function (name) { document.addEventListener(name, hide, { passive: true }); });
  document.addEventListener("scroll", function () { // focusing a marker may scroll it into view: the tip follows
    var mark = document.activeElement;
    if (mark && mark.matches && mark.matches(".pt[aria-label]") && !tip.hidden) { var box = mark.getBoundingClientRect(); show(mark.getAttribute("aria-label"), box.right, box.bottom); }
  }, { passive: true });

  // ---- legends switch series on and off
  function switchTo(button, on) {
    button.setAttribute("aria-pressed", String(on));
    all(".chart [data-series]", button.closest(".figures") || button.closest("figure")).forEach(function (part) {
      if (part.dataset.series === button.dataset.series) { part.classList.toggle("off", !on); }
    });
  }
  all(".legend button").forEach(function (button) {
    if (button.getAttribute("aria-pressed") === "false") { switchTo(button, false); }
    button.addEventListener("click", function () { switchTo(button, button.getAttribute("aria-pressed") !== "true"); });
  });

  // ---- what a filter leaves of the first figure and of the sentence
  function narrow(view) { // lines that the table hides are not drawn; the sentence is about those that are left
    var card = all(".card", view).filter(function (one) { return !one.hidden; })[0];
    var rows = all(".systems tbody:not([hidden]) tr", view), shown = rows.filter(function (row) { return !row.hidden; });
    var filtered = shown.length < rows.length, left = {};
    function name(row) { return row.className === "plain" ? "plain compression" : row.querySelector("bdi").textContent; }
    shown.forEach(function (row) { left[name(row)] = true; });
    all(".first .legend button", view).forEach(function (button) {
      var known = rows.some(function (row) { return name(row) === button.dataset.series; });
      if (filtered && known && !("usual" in button.dataset)) { button.dataset.usual = button.getAttribute("aria-pressed"); }
      if (filtered && known) { switchTo(button, Boolean(left[button.dataset.series])); }
      if (!filtered && "usual" in button.dataset) { switchTo(button, button.dataset.usual === "true"); delete button.dataset.usual; }
    });
    all(".narrowed", view).forEach(function (old) { old.remove(); });
    if (!card) { return; }
    var ranked = shown.filter(function (row) { return row.className === ""; });
    var can = filtered && card.querySelector(".found strong");
    all(".found, .rest", card).forEach(function (said) { said.hidden = Boolean(can); });
    if (!can) { return; }
    var best = card.querySelector(".found strong bdi").textContent;
    var verdicts = { "best": "best of all", "within noise": "within noise of " + best, "behind": "behind " + best };
    function word(row) {
      var cells = row.cells, judged = row.querySelector(".judged");
      return row.querySelector("bdi").textContent + " " + cells[1].textContent.trim() + " at " + cells[2].textContent.trim() +
        (judged ? " (" + (verdicts[judged.textContent] || judged.textContent) + ")" : "");
    }
    var said = document.createElement("p"), when = card.querySelector(".when").textContent.replace(/:$/, "");
    said.className = "found narrowed";
    said.textContent = when + (shown.length ? ", of those shown: " + (ranked.map(word).join("; ") || "no system is there") : ": nothing here matches the filter") + ".";
    card.appendChild(said);
  }

  function say(part, isEmpty, words) { // in place of axes without lines and of a table without rows
    var after = part.nextElementSibling, old = after && after.classList.contains("nothing") ? after : null;
    if (old) { old.remove(); }
    part.hidden = isEmpty;
    if (!isEmpty) { return; }
    var said = document.createElement("p");
    said.className = "note nothing";
    said.textContent = words;
    part.parentNode.insertBefore(said, part.nextSibling);
  }
  function rowsLeft(table) { return all("tbody:not([hidden]) tr", table).some(function (row) { return !row.hidden; }); }

  // ---- paper has nothing to click: what is folded below what is shown is printed open, commands stay folded
  var folded = [];
  window.addEventListener("beforeprint", function () {
    folded = all(".view:not([hidden]) details:not([open]), #reading:not([open]), #problems:not([open]), #provenance:not([open])");
    folded.forEach(function (part) { part.open = true; });
  });
  window.addEventListener("afterprint", function () { folded.forEach(function (part) { part.open = false; }); });

  // ---- sorting
  function key(cell) { return cell ? cell.textContent.trim() : ""; }
  function compare(a, b) {
    var x = parseFloat(a.replace("−", "-")), y = parseFloat(b.replace("−", "-"));
    if (!isNaN(x) && !isNaN(y) && x !== y) { return x - y; }
    return a.localeCompare(b, "en", { numeric: true });
  }
  function absent(text) { return text === "" || text === "–"; }
  function sort(table, column, direction) {
    var body = table.tBodies[0];
    Array.prototype.slice.call(body.rows)
      .map(function (row, i) { return { row: row, i: i, key: key(row.cells[column]) }; })
      .sort(function (a, b) {
        if (absent(a.key) !== absent(b.key)) { return absent(a.key) ? 1 : -1; }
        return direction * compare(a.key, b.key) || a.i - b.i;
      })
      .forEach(function (item) { body.appendChild(item.row); });
  }
  all("table.sortable").forEach(function (table) {
    all("thead button", table).forEach(function (button) {
      button.addEventListener("click", function () {
        var head = button.closest("th"), down = head.getAttribute("aria-sort") === "ascending" || (head.cellIndex > 0 && !head.hasAttribute("aria-sort"));
        all("th[aria-sort]", table).forEach(function (other) { other.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        sort(table, head.cellIndex, down ? -1 : 1);
      });
    });
  });

  // ---- what is shown: task, backbone, operating point, family, and words of a strategy's name
  function field(id) { return document.getElementById(id); }
  var task = field("task"), backbone = field("backbone"), rule = field("rule"), family = field("family"), filter = field("filter");
  if (!task) { unfold(); return; }
  var chosen = {}; // task -> the panel that was clicked
  function choose(section) { // the tabs that the backbone leaves, and the one that is shown
    var tabs = all(".tabs a", section), views = all(".view", section);
    var left = views.filter(function (view) { return !backbone.value || view.dataset.backbone === backbone.value; });
    var shown = left.filter(function (view) { return view.id === chosen[section.dataset.task]; })[0] || left[0];
    tabs.forEach(function (tab) {
      tab.parentNode.hidden = backbone.value !== "" && tab.dataset.backbone !== backbone.value;
      if (shown && tab.hash === "#" + shown.id) { tab.setAttribute("aria-current", "true"); } else { tab.removeAttribute("aria-current"); }
    });
    views.forEach(function (view) { view.hidden = view !== shown; });
    return Boolean(shown);
  }
  function isOfFamily(name) { // a family without names has those that no other one has
    if (family.value === "") { return true; }
    var strategy = name.trim().split(" ")[0];
    function has(option) { return (option.dataset.names || "").split(" ").indexOf(strategy) >= 0; }
    var option = family.options[family.selectedIndex];
    return option.dataset.names ? has(option) : !all("option", family).some(has);
  }
  function matches(name) {
    var text = name.toLowerCase();
    var groups = filter.value.toLowerCase().split(",").map(function (g) { return g.split(/\s+/).filter(Boolean); });
    groups = groups.filter(function (words) { return words.length; });
    return !groups.length || groups.some(function (words) { return words.every(function (word) { return text.indexOf(word) >= 0; }); });
  }
  function update() {
    var tasks = 0, shown = 0, count = 0, point = rule && rule.options[rule.selectedIndex].textContent;
    all(".task").forEach(function (section) {
      var has = choose(section);
      section.hidden = !has || (task.value !== "" && section.dataset.task !== task.value);
      tasks += section.hidden ? 0 : 1;
    });
    all(".card, .systems tbody").forEach(function (part) {
      var root = part.closest(".view"), there = all(".card", root).some(function (card) { return rule && card.dataset.rule === rule.value; });
      if (there) { part.hidden = part.dataset.rule !== rule.value; }
    });
    all(".systems tbody tr").forEach(function (row) {
      row.hidden = (family.value !== "" && row.dataset.f !== family.value) || !matches(row.cells[0].textContent);
    });
    all(".filtered tbody tr").forEach(function (row) {
      var box = row.closest("details").querySelector(".every"), name = row.cells[0].textContent;
      var elsewhere = box && !box.checked && point && row.cells[3].textContent.split(" (")[0] !== point;
      row.hidden = elsewhere || !isOfFamily(name) || !matches(name);
    });
    all(".view").forEach(narrow);
    all(".view").forEach(function (view) {
      var systems = view.querySelector(".systems"), first = view.querySelector(".first");
      if (systems && all("tbody tr", systems).length) { say(first, !rowsLeft(systems), "No system matches the filter."); }
    });
    all(".filtered").forEach(function (table) {
      if (all("tbody tr", table).length) { say(table.closest(".wide"), !rowsLeft(table), "No row matches the filter."); }
    });
    all(".systems").forEach(function (table) {
      if (table.closest(".view").hidden || table.closest(".task").hidden) { return; }
      all("tbody:not([hidden]) tr", table).forEach(function (row) { count += 1; shown += row.hidden ? 0 : 1; });
    });
    var folded = all(".task:not([hidden]) .view:not([hidden]) .filtered tbody tr:not([hidden])").length;
    field("count").textContent = tasks + (tasks === 1 ? " task, " : " tasks, ") + shown + " of " + count + " lines" +
      (shown || !count ? "" : folded ? "; " + folded + " in the tables of every strategy, folded below" : ": nothing has this name");
  }
  [task, backbone, rule, family].forEach(function (one) { if (one) { one.addEventListener("change", update); } });
  filter.addEventListener("input", update);
  all(".every").forEach(function (box) { box.addEventListener("change", update); });
  all(".tabs a").forEach(function (tab) {
    tab.addEventListener("click", function (event) {
      event.preventDefault();
      chosen[tab.closest(".task").dataset.task] = tab.hash.slice(1);
      update();
      history.replaceState(null, "", tab.hash);
    });
  });

  // ---- a link opens what it leads to
  function unfold() {
    var target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) { return; }
    if (target.classList.contains("view")) {
      var section = target.closest(".task");
      chosen[section.dataset.task] = target.id;
      if (backbone.value !== target.dataset.backbone) { backbone.value = ""; }
      if (task.value !== section.dataset.task) { task.value = ""; }
      update();
    }
    for (var part = target.closest("details"); part; part = part.parentNode.closest("details")) { part.open = true; }
    target.scrollIntoView();
  }
  window.addEventListener("hashchange", unfold);
  update();
  unfold();
})();

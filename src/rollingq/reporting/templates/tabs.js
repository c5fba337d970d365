/** Parts under each other become tabs; without this script, and on paper, all of them are there. */
for (const group of document.querySelectorAll("[data-tabs]")) {
  const panels = Array.from(group.children).filter((child) => "tab" in child.dataset);
  if (panels.length < 2) continue;
  const list = document.createElement("div");
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", group.dataset.tabs);
  const tabs = panels.map((panel) => {
    const tab = document.createElement("button");
    tab.type = "button";
    tab.id = `${panel.id}-tab`;
    tab.textContent = panel.dataset.tab;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", panel.id);
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", tab.id);
    return tab;
  });
  const select = (chosen) => {
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === chosen));
      tab.tabIndex = i === chosen ? 0 : -1;
      panels[i].hidden = i === chosen ? false : "until-found";
    });
  };
  const steps = { ArrowRight: 1, ArrowLeft: -1 };
  const ends = { Home: 0, End: tabs.length - 1 };
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => select(i));
    panels[i].addEventListener("beforematch", () => select(i));
    tab.addEventListener("keydown", (event) => {
      const next = event.key in ends ? ends[event.key] : (i + steps[event.key] + tabs.length) % tabs.length;
      if (Number.isNaN(next)) return;
      event.preventDefault();
      select(next);
      tabs[next].focus();
    });
  });
  list.append(...tabs);
  group.prepend(list);
  select(0);
}

// The theme and the font of the UI around us, before anything is painted: a plain script, because modules run later.
(() => {
  const own = document.documentElement;
  const framed = window.parent !== window;
  const theirs = framed ? parent.document.documentElement : null;
  const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const isDark = theirs ? theirs.classList.contains("dark") || theirs.style.colorScheme === "dark" : systemIsDark.matches;
    own.dataset.theme = isDark ? "dark" : "light";
  };
  apply();
  systemIsDark.addEventListener("change", apply);
  if (!theirs) return;
  own.classList.add("framed");
  own.style.setProperty("--font", parent.getComputedStyle(parent.document.body).fontFamily);
  new MutationObserver(apply).observe(theirs, { attributeFilter: ["class", "style"] });
})();

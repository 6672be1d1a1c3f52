// Take over the theme and the font of the UI around this page before anything is painted. A plain script: modules run later.
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

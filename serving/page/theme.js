// Sets the theme before anything is drawn. Without a choice of the reader's, the system's holds.

{
  const STORED = "lakehouse-theme";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => localStorage.getItem(STORED);
  const isDark = () => (chosen() ?? (system.matches ? "dark" : "light")) === "dark";

  const apply = () => {
    document.documentElement.dataset.theme = isDark() ? "dark" : "light";
    document.getElementById("dark")?.setAttribute("aria-pressed", String(isDark()));
    document.dispatchEvent(new Event("themechange"));
  };

  const toggle = () => {
    localStorage.setItem(STORED, isDark() ? "light" : "dark");
    apply();
  };

  apply();
  system.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    document.getElementById("dark").addEventListener("click", toggle);
  });
}

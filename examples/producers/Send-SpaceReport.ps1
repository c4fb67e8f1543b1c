<#
.SYNOPSIS
Mails a report on free space from PowerShell 5.1 or newer, on Windows (over a share) and elsewhere.
.DESCRIPTION
The job is built in SPOOL\tmp and renamed into SPOOL\incoming: it appears there whole or not at all. Writes the job's
name. Exit code 73: the job could not be written; nothing was dropped.
.EXAMPLE
./Send-SpaceReport.ps1 -Spool \\mailhost\maildropd
#>
param([string]$Spool = '/var/spool/maildropd')

$ErrorActionPreference = 'Stop'
$utf8 = New-Object System.Text.UTF8Encoding $false # no byte-order mark, in Windows PowerShell neither
$name = 'space-report-' + [guid]::NewGuid().ToString('N') # the result comes back under this name
$staging = Join-Path $Spool 'tmp'
$job = Join-Path $staging $name

try {
    # The folder tmp must be there: New-Item would make it, and with it a spool in the wrong place.
    if (-not (Test-Path -LiteralPath $staging)) { throw "$staging is not there; is $Spool the spool?" }
    New-Item -ItemType Directory -Path $job | Out-Null

    $computer = [Environment]::MachineName
    $report = Get-PSDrive -PSProvider FileSystem | Format-Table Name, Used, Free -AutoSize | Out-String
    [IO.File]::WriteAllText((Join-Path $job 'body.txt'), $report, $utf8)
    [IO.File]::WriteAllText((Join-Path $job 'envelope.toml'), @"
from = "Space report <reports@example.com>"
to = ["ops@example.org"]
subject = "Free space on $computer"
"@, $utf8)

    # Move-Item copies where it can't rename; this one renames or fails.
    [IO.Directory]::Move($job, (Join-Path (Join-Path $Spool 'incoming') $name))
    Write-Output $name
}
catch {
    [Console]::Error.WriteLine("Send-SpaceReport: $_")
    if (Test-Path -LiteralPath $job) { Remove-Item -LiteralPath $job -Recurse -Force }
    exit 73
}
